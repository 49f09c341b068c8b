#!/bin/bash
#SBATCH --partition={{ gpu.partition }}
#SBATCH --gres=gpu:{{ gpu.type }}:1
#SBATCH --cpus-per-task=4
#SBATCH --time=00:10:00
#SBATCH --mem=4G
#SBATCH --output=gpu.out

module purge
module load {{ modules.python }}

echo "The job has the GPU $CUDA_VISIBLE_DEVICES of $HOSTNAME"
python3 train.py
