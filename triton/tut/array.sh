#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:05:00
#SBATCH --mem=100M
#SBATCH --array=1-3
#SBATCH --output=array_%a.out

echo "This is task $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT"
