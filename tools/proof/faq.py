"""The entries of the FAQ, and the tests that bring about what they describe."""

import ast
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from tools import pages
from tools.cluster.jupyter_server import literals
from tools.files import ROOT

FAQ = "triton/apps/jupyter/faq.rst"
LABELS = re.findall(r"^\.\. _(faq-[\w-]+):$", pages.read(FAQ), re.MULTILINE)

# {entry: {place of a message in it: why no test can see the message here}}
UNSEEN: dict[str, dict[int, str]] = {
    "faq-spawn": {3: "the page says itself that older versions said it"},
    "faq-500": {1: "the page says itself that older versions said it"},
    "faq-tunnel": {1: "Firefox says it, and the readers' computers have Chromium alone"},
    "faq-quota": {0: "the kernel of this machine has no quotas, so a full home is a full disk"},
}


def visible(label: str, messages: Sequence[str]) -> list[int]:
    """The places of the messages that a test can see here."""
    return [index for index in range(len(messages)) if index not in UNSEEN.get(label, {})]


class Entry:
    """One entry of the page.

    It has a label and a title, the messages of `:You see:`, and the text of `:Do:`. `wanted` are
    the places of the messages that a test must see, `seen` those of the messages that it has seen.
    """

    def __init__(self, label: str) -> None:
        """Raises KeyError if the page has no entry with this label."""
        match = re.search(
            rf"^\.\. _{label}:$(.*?)(?=^\.\. _faq|\Z)", pages.read(FAQ), re.MULTILINE | re.DOTALL
        )
        if not match:
            raise KeyError(f"{FAQ} has no entry {label}")
        text = match[1]
        self.label = label
        self.title = text.strip().splitlines()[0]
        self.line = pages.read(FAQ).partition(f".. _{label}:")[0].count("\n") + 1
        self.messages: list[str] = literals(self._field(text, "You see"))
        self.do = self._field(text, "Do")
        self.seen: set[int] = set()
        self.wanted: Sequence[int] = visible(label, self.messages)

    @staticmethod
    def _field(text: str, name: str) -> str:
        match = re.search(rf"^:{name}:((?:.*\n)(?:[ \t]+.*\n|\n)*)", text + "\n", re.MULTILINE)
        return match[1] if match else ""

    def shows(self, text: str, which: int = 0) -> None:
        """Assert that `text` has the message number `which`, in which ... stands for any text."""
        message = self.messages[which]
        self.seen.add(which)
        assert re.search(".*".join(map(re.escape, message.split("..."))), " ".join(text.split())), (
            f"the page says {message!r}, the reader sees {text!r}"
        )

    def commands(self) -> list[str]:
        """The commands in the text of `:Do:`, without prompts."""
        return [
            line.split("$ ", 1)[1].strip()
            for line in self.do.splitlines()
            if pages.PROMPT.match(line.strip())
        ]


@cache
def seen() -> set[str]:
    """The messages of all entries that their tests see."""
    entries = [Entry(label) for label in LABELS]
    return {entry.messages[place] for entry in entries for place in entry.wanted}


def declared() -> dict[str, dict[str, list[int] | None]]:
    """{label: {test: places}} of all tests with the marker `proves`.

    A test is file.py::function. `places` are those of the messages that it sees; None stands for
    all that can be seen.
    """
    tests: dict[str, dict[str, list[int] | None]] = defaultdict(dict)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef):
                continue
            for marker in function.decorator_list:
                if (
                    isinstance(marker, ast.Call)
                    and ast.unparse(marker.func) == "pytest.mark.proves"
                ):
                    label, *places = map(ast.literal_eval, marker.args)
                    tests[label][f"{path.name}::{function.name}"] = places[0] if places else None
    return dict(tests)
