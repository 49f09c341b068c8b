"""Reads one row of a large file with and without all others."""

import resource

import numpy as np

np.lib.format.open_memmap("large.npy", mode="w+", shape=(2_000_000, 10))  # 160 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for name, mode in (("mapped", "r"), ("whole", None)):
    rows = np.load("large.npy", mmap_mode=mode)
    mean = rows[1_500_000].mean()
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: {more // 1024} MB of memory")
