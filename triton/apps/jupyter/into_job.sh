#!/bin/bash
# Lead ssh into your job that is called "editor". Nothing listens at a port: all goes through Slurm.
if [ -z "$SLURM_STEP_ID" ]; then
    job=$(squeue --me --name=editor --states=RUNNING --noheader --format=%A)
    exec srun --jobid="${job:?no job called editor runs}" --overlap --quiet --unbuffered bash "$0"
fi
variables="SLURM_JOB_ID=$SLURM_JOB_ID SLURM_CPUS_ON_NODE=$SLURM_CPUS_ON_NODE"
exec /usr/sbin/sshd -i -f /dev/null -h ~/.ssh/job_key -o UsePAM=no \
    -o Subsystem="sftp internal-sftp" \
    -o SetEnv="$variables CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"
