#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:05:00
#SBATCH --mem=100M
#SBATCH --array=0-2
#SBATCH --output=array_%a.out

TOWNS=(Helsinki Oulu Utsjoki)
town=${TOWNS[$SLURM_ARRAY_TASK_ID]}

echo "Task $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT: $town"
