#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=00:05:00
#SBATCH --mem=1G
#SBATCH --output=mpi.out

export MPIR_CVAR_CH4_NETMOD=ofi     # MPICH's other way lets every user write into the memory of the tasks
srun --mpi=pmi2 "$WRKDIR/envs/parallel/bin/python" ranks.py
