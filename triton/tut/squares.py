"""Squares the numbers below 1000, on all cores of the job."""

import os

from joblib import Parallel, delayed

cores = int(os.environ["SLURM_CPUS_ON_NODE"])


def square(number: int) -> int:
    return number**2


own = Parallel(n_jobs=cores, temp_folder="/dev/shm")  # nobody else can read large arrays there
squares = own(delayed(square)(number) for number in range(1000))
print(sum(squares), "on", cores, "cores")
