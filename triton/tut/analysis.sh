#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:05:00
#SBATCH --mem=100M
#SBATCH --output=analysis.out

module purge
module load {{ modules.python }}

python3 -c 'print(sum(range(1000)))'
