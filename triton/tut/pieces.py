"""Reads a large table in pieces, and keeps the rows and columns that are needed."""

import pandas as pd

kept = [
    piece[piece[0] > 0.9]
    for piece in pd.read_csv("rows.csv", header=None, usecols=[0, 1], chunksize=10_000)
]
table = pd.concat(kept)
table.to_pickle("kept.pkl")
print(f"pieces: {len(kept)}, rows: {len(table)}")
