"""What may differ between two runs is declared, shown by example, and still needed."""

import json
import re

import pytest
from nbval.plugin import get_sanitize_patterns

from tools.course import pairs
from tools.validate import catalogue, sanitize

PATTERNS = sanitize.load()


def stored_text():
    for pair in pairs.find(catalogue.NOTEBOOKS):
        for cell in json.loads(pair.ipynb.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                for text in (
                    output.get("text"),
                    output.get("evalue"),
                    *output.get("data", {}).values(),
                ):
                    yield "".join(text) if isinstance(text, list) else str(text or "")


def faults(pattern, texts):
    """What is wrong with a pattern, given the stored outputs."""
    before, after = pattern["changes"]
    if not re.sub(pattern["regex"], pattern["replace"], before) == after != before:
        yield "does not change its example as it says"
    if re.sub(pattern["regex"], pattern["replace"], pattern["keeps"]) != pattern["keeps"]:
        yield "changes what it must keep"
    if not pattern.get("general") and not any(re.search(pattern["regex"], text) for text in texts):
        yield "is in no stored output any more: remove it"


def test_every_pattern_changes_its_example_and_is_needed():
    """It leaves its counterexample as it is."""
    texts = list(stored_text())
    assert len(texts) > 50
    assert not {
        pattern["regex"]: list(faults(pattern, texts))
        for pattern in PATTERNS
        if list(faults(pattern, texts))
    }


@pytest.mark.parametrize(
    "change, says",
    [
        ({}, None),
        ({"changes": ["in 5 s", "in 5 s"]}, "does not change"),
        ({"keeps": "in 7 s"}, "must keep"),
        ({"regex": r"in \d+ (?:s|zonks)", "keeps": "in 7 h"}, None),
        ({"regex": r"in \d+ zonks", "changes": ["in 5 zonks", "in N s"]}, "no stored output"),
        ({"regex": r"in \d+ zonks", "changes": ["in 5 zonks", "in N s"], "general": True}, None),
    ],
)
def test_a_pattern_that_is_wrong_or_no_longer_needed_is_noticed(change, says):
    pattern = {
        "regex": r"in \d+ s",
        "replace": "in N s",
        "changes": ["in 5 s", "in N s"],
        "keeps": "in 7 h",
    } | change
    assert (
        [fault for fault in faults(pattern, ["done in 12 s"])] == []
        if says is None
        else says in "".join(faults(pattern, ["done in 12 s"]))
    )


def test_nbval_reads_every_pattern_as_it_is_written():
    sample = [{"regex": r"\d+ s", "replace": "N s"}, {"regex": "a: b", "replace": ""}]
    assert get_sanitize_patterns(sanitize.nbval_file(PATTERNS + sample)) == [
        (pattern["regex"], pattern["replace"]) for pattern in PATTERNS + sample
    ]


@pytest.mark.parametrize(
    "folder, shown",
    [
        ("notebooks/sub", "/home/username/jupyter-course/sub"),
        ("home", "/home/username"),
        ("tmp/a.txt", "/tmp/a.txt"),
        ("state/ipython", "/home/username/.cache/ipython"),
        ("notebooks-2", "/tmp/notebooks-2"),
    ],
)
def test_a_folder_of_the_sandbox_has_a_readers_name(folder, shown, tmp_path):
    text = {"text": [f"File '{tmp_path}/{folder}', line 3", 7, None]}
    assert sanitize.apply(sanitize.places(tmp_path), text) == {
        "text": [f"File '{shown}', line 3", 7, None]
    }
