"""Merge random notebooks with nbdime-git's driver in the current folder.

Arguments: the path of nbdime-git, and the number of merges. Prints as JSON how many merges were
clean, had a conflict or were left to git, and what was wrong.
"""

import copy
import importlib.machinery
import importlib.util
import json
import logging
import random
import sys

import nbformat

logging.disable(logging.CRITICAL)
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("nbdime_git", sys.argv[1])
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("nbdime_git", loader))
loader.exec_module(tool)
sys.stderr = open("messages", "w")  # noqa: SIM115  (until this process ends)


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": [text]}


def new_id(chance):
    return f"{chance.randrange(16**8):08x}"


def new_cell(chance):
    source = [
        f"v{chance.randrange(50)} = {chance.randrange(99)}\n" for _ in range(chance.randrange(1, 5))
    ]
    outputs = [stream(f"out {chance.randrange(9)}\n") for _ in range(chance.randrange(3))]
    return {
        "cell_type": "code",
        "id": new_id(chance),
        "metadata": {},
        "source": source,
        "execution_count": chance.randrange(9),
        "outputs": outputs,
    }


def edit(notebook, chance, who):
    """A copy of the notebook with some edits of `who`."""
    notebook = copy.deepcopy(notebook)
    cells = notebook["cells"]
    for _ in range(chance.randrange(1, 4)):
        kind = chance.randrange(6)
        cell = chance.choice(cells) if cells else None
        if kind == 0 or cell is None:
            cells.insert(chance.randrange(len(cells) + 1), new_cell(chance))
        elif kind == 1:
            cells.remove(cell)
        elif kind in (2, 3):
            source = cell["source"]
            source[chance.randrange(len(source))] = f"{who} = {chance.randrange(10**6)}\n"
        elif kind == 4:
            cell["outputs"] = [stream(f"{who} {chance.randrange(10**6)}\n")]
        else:
            cells.remove(cell)
            cells.insert(chance.randrange(len(cells) + 1), cell)
    return notebook


def lines(notebook):
    """The lines of the notebook's sources and outputs."""
    return {
        line
        for cell in notebook["cells"]
        for line in cell["source"] + [text for output in cell["outputs"] for text in output["text"]]
    }


def sides_of(chance, seed):
    """The base and both sides of a merge. Every second seed uses formats without ids."""
    base = {
        "cells": [new_cell(chance) for _ in range(chance.randrange(1, 5))],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    sides = {
        "base": base,
        "ours": edit(base, chance, "ours"),
        "theirs": edit(base, chance, "theirs"),
    }
    for notebook in sides.values() if seed % 2 else ():
        notebook["nbformat_minor"] = chance.choice([0, 2, 4, 4, 5])
        fresh = chance.randrange(2)
        for cell in notebook["cells"]:
            if notebook["nbformat_minor"] < 5:
                del cell["id"]
            elif fresh:
                cell["id"] = new_id(chance)
    return sides


def text_of(cell):
    outputs = ["".join(output.get("text", "")) for output in cell.get("outputs", [])]
    return "".join(cell["source"]) + "\n" + "".join(outputs) + "\n"


def problems(text, sides):
    """What is wrong with the merged notebook."""
    merged = json.loads(text)
    try:
        nbformat.validate(json.loads(text))
    except nbformat.ValidationError as error:
        yield str(error).splitlines()[0]
    everything = "".join(map(text_of, merged["cells"]))
    for name in ("ours", "theirs"):
        if any(
            line.strip() not in everything for line in lines(sides[name]) - lines(sides["base"])
        ):
            yield f"lost a line of {name}"
    ids = [cell["id"] for cell in merged["cells"] if merged["nbformat_minor"] > 4]
    if len(set(ids)) != len(ids):
        yield "ids"


counts = {"clean": 0, "conflict": 0, "text": 0, "bad": []}
for seed in range(int(sys.argv[2])):
    sides = sides_of(random.Random(seed), seed)
    for name, notebook in sides.items():
        with open(name, "w") as file:
            if name != "base" or seed % 10 != 9:
                json.dump(notebook, file, indent=1)
    status = tool.run_driver("driver-merge", ["base", "ours", "theirs", "nb.ipynb"])
    with open("ours") as file:
        text = file.read()
    if status > 1:
        counts["text"] += 1
        if json.loads(text) != sides["ours"]:
            counts["bad"].append(f"{seed}: failed and wrote")
        continue
    counts["conflict" if status else "clean"] += 1
    counts["bad"] += [f"{seed}: {problem}" for problem in problems(text, sides)]
print(json.dumps(counts))
