#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:10:00
#SBATCH --mem=500M
#SBATCH --array=0-3
#SBATCH --output=towns_%a.out

module purge
module load {{ modules.jupyter }}

TOWNS=(Helsinki Oulu Utsjoki Atlantis)
town=${TOWNS[$SLURM_ARRAY_TASK_ID]}

mkdir -p towns
python3 private_papermill.py town.ipynb "towns/$town.ipynb" \
    --parameters town "$town" --log-output
