"""Compute daylight.csv: how long the sun is up, for each day of 2026 in five towns of Finland.

    python3 make_daylight.py > daylight.csv

The sun's declination comes from Spencer's series (J. W. Spencer, Search 2 (5), 1971, page 172). The sun counts as up
while the centre of its disc is higher than -0.833 degrees, which allows for its size and for refraction at the horizon.
The series fits the calendar of the middle of the last century: for 2026 it is about a day late. README.md says what that makes.
"""
import csv
import datetime
import math
import sys

TOWNS = {"Helsinki": 60.17, "Jyväskylä": 62.24, "Oulu": 65.01, "Rovaniemi": 66.50, "Utsjoki": 69.91}  # degrees north
HORIZON = math.radians(-0.833)


def declination(day):
    """The sun's declination in radians at noon of the day of the year, 1 to 365."""
    angle = 2 * math.pi * (day - 1) / 365
    terms = [(-0.399912, 0.070257), (-0.006758, 0.000907), (-0.002697, 0.00148)]
    return 0.006918 + sum(a * math.cos(n * angle) + b * math.sin(n * angle) for n, (a, b) in enumerate(terms, 1))


def hours(latitude, day):
    """How many hours of the day the sun is up at a latitude in degrees: 0 in the polar night, 24 under the midnight sun."""
    phi, delta = math.radians(latitude), declination(day)
    cosine = (math.sin(HORIZON) - math.sin(phi) * math.sin(delta)) / (math.cos(phi) * math.cos(delta))
    return 24 / math.pi * math.acos(min(1, max(-1, cosine)))


def main():
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["date", "town", "latitude", "hours"])
    for town, latitude in TOWNS.items():
        for day in range(1, 366):
            date = datetime.date(2026, 1, 1) + datetime.timedelta(days=day - 1)
            table.writerow([date, town, latitude, f"{hours(latitude, day):.2f}"])


if __name__ == "__main__":
    main()
