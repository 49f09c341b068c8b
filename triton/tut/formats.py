"""Writes one table as text and as a file of NumPy, and reads both."""

import os
import time

import numpy as np


def read_text(name: str) -> np.ndarray:
    """The numbers in a CSV file, as an array."""
    return np.loadtxt(name, delimiter=",")


rows = np.random.default_rng(1).random((100_000, 10))
np.savetxt("rows.csv", rows, delimiter=",")
np.save("rows.npy", rows)

for name, read in (("rows.csv", read_text), ("rows.npy", np.load)):
    began = time.perf_counter()
    read(name)
    print(f"{name}: {os.path.getsize(name) / 1e6:.0f} MB, {time.perf_counter() - began:.3f} s")
