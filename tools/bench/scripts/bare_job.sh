#!/bin/bash
#SBATCH --mem=400M --time=10 --output=bare-%j.log
. /etc/profile
module load "$MODULE"
export JUPYTER_TOKEN=bare
exec jupyter lab --no-browser --ip="$(hostname --ip-address)" --port=0
