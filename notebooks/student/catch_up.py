"""Bring a notebook of the course to where the class is.

    python3 catch_up.py NOTEBOOK EXERCISE [--from ADDRESS]

Save the notebook and close its tab first: what is not saved is not kept. Type the command in a terminal. The notebooks are those beside this program.

NOTEBOOK is its name or how that begins, 03 or 3; EXERCISE the number of the last one that the class has done. Those up to it are solved in the new
copy, the later ones are empty. Your own copy, as you saved it last, is kept beside it under another name. If you have none any more, you get one.
"""
import argparse
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ADDRESS = "{{ site.url }}course/after/"
NAMES = "{{ course.notebooks }}".split("/")


def free_name(path):
    """A name for your own copy that no file has."""
    number = 1
    while (kept := path.with_name(f"{path.stem}-mine-{number}.ipynb")).exists():
        number += 1
    return kept


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook")
    parser.add_argument("exercise", type=int)
    parser.add_argument("--from", dest="address", default=ADDRESS, help="where the states are, instead of the guide's site")
    options = parser.parse_args(arguments)
    begins = Path(options.notebook).name.removesuffix(".ipynb")
    begins = begins.zfill(2) if begins.isdecimal() else begins
    found = [name for name in NAMES if name == begins] or [name for name in NAMES if begins and name.startswith(begins)]
    if len(found) != 1:
        parser.exit(2, f"{options.notebook!r} must be the name of one notebook of the course, or how only one begins. "
                       f"There are: {', '.join(found or NAMES)}.\n")
    path = FOLDER / f"{found[0]}.ipynb"
    if options.exercise < 1:
        parser.exit(2, f"The first exercise is 1. Nothing was changed; an empty copy is at {ADDRESS.removesuffix('after/')}{path.name}\n")
    address = f"{options.address.rstrip('/')}/{urllib.parse.quote(path.stem)}-{options.exercise}.ipynb"
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            new = answer.read()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            parser.exit(1, f"{address} answers {error.code} {error.reason}. Nothing was changed; try again in a minute.\n")
        parser.exit(1, f"{path.stem} has no exercise {options.exercise}, or its solutions are not released yet: {address} is not there. "
                       "Nothing was changed; ask the instructor.\n")
    except OSError as error:
        parser.exit(1, f"{address} does not answer: {error}. Nothing was changed; are you connected?\n")
    fresh, kept = path.with_suffix(".new"), free_name(path) if path.exists() else None
    try:
        fresh.write_bytes(new)
        if kept:
            os.link(path, kept)
        os.replace(fresh, path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        parser.exit(1, f"{error.filename} cannot be written: {error.strerror}. {path.name} is as it was.\n")
    mine = f"What you had saved is in {kept.name}." if kept else "You had none here."
    print(f"{path.name} is where the class is after exercise {options.exercise}. {mine}\n"
          f"Close the tab of {path.name} without saving if it is open, open it again, and choose Kernel, Restart Kernel.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
