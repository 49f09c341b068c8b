"""The entries of the FAQ, and which tests bring them about."""

import ast
import re
from collections import defaultdict

from tools import pages
from tools.cluster.jupyter_server import literals
from tools.files import ROOT

FAQ = "triton/apps/jupyter/faq.rst"
LABELS = re.findall(r"^\.\. _(faq-[\w-]+):$", pages.read(FAQ), re.MULTILINE)

# Entries that no test brings about yet, and why. The list may only shrink.
NOT_YET = {}
# Messages, by their place in the entry, that cannot be seen here, and why. Some are another test's.
UNSEEN = {
    "faq-spawn": {3: "the page says itself that older versions said it"},
    "faq-500": {1: "the page says itself that older versions said it"},
    "faq-tunnel": {1: "Firefox says it, and the readers' computers have Chromium alone"},
    "faq-quota": {0: "the kernel of this machine has no quotas, so a full home is a full disk"},
}


def visible(label, messages):
    """The places of the messages that can be seen here."""
    return [index for index in range(len(messages)) if index not in UNSEEN.get(label, {})]


class Entry:
    """One entry of the page: its title, the messages of `:You see:`, and what follows `:Do:`."""

    def __init__(self, label):
        text = re.search(
            rf"^\.\. _{label}:$(.*?)(?=^\.\. _faq|\Z)", pages.read(FAQ), re.MULTILINE | re.DOTALL
        )[1]
        self.label, self.title = label, text.strip().splitlines()[0]
        self.line = pages.read(FAQ).partition(f".. _{label}:")[0].count("\n") + 1
        self.messages, self.do = literals(self._field(text, "You see")), self._field(text, "Do")
        self.seen, self.wanted = set(), visible(label, self.messages)

    @staticmethod
    def _field(text, name):
        found = re.search(rf"^:{name}:((?:.*\n)(?:[ \t]+.*\n|\n)*)", text + "\n", re.MULTILINE)
        return found[1] if found else ""

    def shows(self, text, which=0):
        """Assert that `text` has the message; its ... stands for anything."""
        message = self.messages[which]
        self.seen.add(which)
        assert re.search(".*".join(map(re.escape, message.split("..."))), " ".join(text.split())), (
            f"the page says {message!r}, the reader sees {text!r}"
        )

    def commands(self):
        """The commands that it says to type, without prompts."""
        return [
            line.split("$ ", 1)[1].strip()
            for line in self.do.splitlines()
            if pages.PROMPT.match(line.strip())
        ]


def declared():
    """{label: {test: the places of the messages that it sees, None for all that can be seen}} of
    the markers `proves` of all tests.
    """
    found = defaultdict(dict)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test in ast.parse(path.read_text(encoding="utf-8")).body:
            for marker in getattr(test, "decorator_list", []):
                if (
                    isinstance(marker, ast.Call)
                    and ast.unparse(marker.func) == "pytest.mark.proves"
                ):
                    label, *places = map(ast.literal_eval, marker.args)
                    found[label][f"{path.name}::{test.name}"] = places[0] if places else None
    return dict(found)
