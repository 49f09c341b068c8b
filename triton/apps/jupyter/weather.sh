#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:05:00
#SBATCH --mem=500M
#SBATCH --output=weather.out

"$WRKDIR/weather/.venv/bin/python" mean.py
