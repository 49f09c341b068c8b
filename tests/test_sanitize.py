"""What may differ between two runs is declared, shown by example, and still needed."""
import json
import re

import pytest
from course import pairs, runner, sanitize
from nbval.plugin import get_sanitize_patterns

PATTERNS = sanitize.load()


def stored_text():
    for pair in pairs.find(runner.NOTEBOOKS):
        for cell in json.loads(pair.ipynb.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                for text in (output.get("text"), output.get("evalue"), *output.get("data", {}).values()):
                    yield "".join(text) if isinstance(text, list) else str(text or "")


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern["why"])
def test_a_pattern_changes_its_example_keeps_its_counterexample_and_is_needed(pattern):
    before, after = pattern["changes"]
    assert re.sub(pattern["regex"], pattern["replace"], before) == after != before
    assert re.sub(pattern["regex"], pattern["replace"], pattern["keeps"]) == pattern["keeps"]
    assert any(re.search(pattern["regex"], text) for text in stored_text()), "no stored output has it any more: remove the pattern"


def test_nbval_reads_every_pattern_as_it_is_written():
    sample = [{"regex": r"\d+ s", "replace": "N s"}, {"regex": "a: b", "replace": ""}]
    assert get_sanitize_patterns(sanitize.nbval_file(PATTERNS + sample)) == [
        (pattern["regex"], pattern["replace"]) for pattern in PATTERNS + sample]
