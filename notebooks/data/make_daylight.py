"""Compute daylight.csv: how long the sun is up, for each day of 2026 in five towns of Finland.

    python3 make_daylight.py > daylight.csv

The sun's declination comes from the low-precision formula of the Astronomical Almanac, good to a hundredth of a degree
from 1950 to 2050, and is taken at noon. The sun counts as up while the centre of its disc is higher than -0.833 degrees,
which allows for its size and for refraction at the horizon. README.md says how exact the result is.
"""
import csv
import datetime
import math
import sys

TOWNS = {"Helsinki": 60.17, "Jyväskylä": 62.24, "Oulu": 65.01, "Rovaniemi": 66.50, "Utsjoki": 69.91}  # degrees north
HORIZON = math.radians(-0.833)
NOON = 10.3 / 24  # in these towns, as a part of the day in universal time


def declination(date):
    """The sun's declination in radians at noon of a date."""
    days = (date - datetime.date(2000, 1, 1)).days + NOON - 0.5  # the formula counts from noon of 1 January 2000
    anomaly = math.radians(357.529 + 0.98560028 * days)
    longitude = math.radians(280.459 + 0.98564736 * days + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    tilt = math.radians(23.439 - 0.00000036 * days)
    return math.asin(math.sin(tilt) * math.sin(longitude))


def hours(latitude, date):
    """How many hours of a date the sun is up at a latitude in degrees: 0 in the polar night, 24 under the midnight sun."""
    phi, delta = math.radians(latitude), declination(date)
    cosine = (math.sin(HORIZON) - math.sin(phi) * math.sin(delta)) / (math.cos(phi) * math.cos(delta))
    return 24 / math.pi * math.acos(min(1, max(-1, cosine)))


def main():
    sys.stdout.reconfigure(encoding="utf-8")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["date", "town", "latitude", "hours"])
    for town, latitude in TOWNS.items():
        for day in range(365):
            date = datetime.date(2026, 1, 1) + datetime.timedelta(days=day)
            table.writerow([date, town, latitude, f"{hours(latitude, date):.2f}"])


if __name__ == "__main__":
    main()
