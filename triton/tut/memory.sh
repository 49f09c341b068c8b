#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:05:00
#SBATCH --mem=100M
#SBATCH --output=memory.out

# Takes 50 MB and holds them for two minutes.
python3 -c 'import time; held = bytearray(50_000_000); time.sleep(120)'
