"""Squares the numbers below 1000, in two jobs of Slurm."""

import os
from pathlib import Path

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client


def square(number: int) -> int:
    return number**2


own = Path.home() / ".dask-jobs"  # for keys and logs
own.mkdir(mode=0o700, exist_ok=True)
dask.config.set({"distributed.scheduler.http.routes": []})  # no pages for strangers
dask.config.set({"temporary-directory": own})  # Python imports from it
cluster = SLURMCluster(
    queue="{{ partitions.batch }}",
    walltime="00:10:00",
    cores=2,
    processes=1,
    memory="1GB",
    security=True,
    shared_temp_directory=own,
    log_directory=own,
    local_directory="$(mktemp -d)",  # on the node; others may have made Dask's own in /tmp
    worker_extra_args=["--no-dashboard"],
    scheduler_options={"dashboard": False, "host": os.uname().nodename},
)
cluster.scale(jobs=2)
with cluster, Client(cluster) as client:
    squares = client.map(square, range(1000))
    print(client.submit(sum, squares).result())
