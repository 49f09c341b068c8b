"""Keeps a table in a database of one file, and asks it a question."""

import sqlite3

with sqlite3.connect("measurements.db") as database:
    database.execute("CREATE TABLE IF NOT EXISTS hours (day INTEGER, town TEXT, value REAL)")
    rows = [(1, "Helsinki", 5.8), (1, "Oulu", 3.7)]
    database.executemany("INSERT INTO hours VALUES (?, ?, ?)", rows)
    question = "SELECT town, avg(value) FROM hours GROUP BY town"
    print(database.execute(question).fetchall())
