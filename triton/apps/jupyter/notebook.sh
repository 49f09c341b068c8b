#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:10:00
#SBATCH --mem=500M
#SBATCH --output=notebook.out

module purge
module load {{ modules.jupyter }}

jupyter nbconvert --to notebook --execute town.ipynb --output town-done.ipynb
