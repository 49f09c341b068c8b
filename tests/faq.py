"""The entries of the FAQ, and which tests bring them about."""
import re

import pytest
from guide import pages
from jupyter_server import literals

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
TESTS = {}      # label: the names of the tests that bring the entry about, and the places of the messages that each sees


def visible(label, messages):
    """The places of the messages that can be seen here."""
    return [index for index in range(len(messages)) if index not in UNSEEN.get(label, {})]


class Entry:
    """One entry of the page: its title, the messages of `:You see:`, and what follows `:Do:`."""

    def __init__(self, label):
        text = re.search(rf"^\.\. _{label}:$(.*?)(?=^\.\. _faq|\Z)", pages.read(FAQ), re.MULTILINE | re.DOTALL)[1]
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
        assert re.search(".*".join(map(re.escape, message.split("..."))), " ".join(text.split())), f"the page says {message!r}, the reader sees {text!r}"

    def commands(self):
        """The commands that it says to type, without prompts."""
        return [line.split("$ ", 1)[1].strip() for line in self.do.splitlines() if pages.PROMPT.match(line.strip())]


def proves(label, messages=None):
    """The test brings about the entry `label`, and sees its messages at these places; without them, all that can be seen."""
    def keep(test):
        tests = TESTS.setdefault(label, {})
        assert test.__name__ not in tests
        tests[test.__name__] = messages
        return test
    return keep


@pytest.fixture
def entry(request, record_property):
    """The entry that the test proves; at the end the messages that the test is for must have been seen."""
    name = request.function.__name__
    found = Entry(next(label for label, tests in TESTS.items() if name in tests))
    if TESTS[found.label][name] is not None:
        found.wanted = TESTS[found.label][name]
    record_property("kind", "FAQ entry")
    request.node.add_report_section("setup", "entry", f"{FAQ}:{found.line}")
    yield found
    for index, message in enumerate(found.messages):
        wanted = index in found.wanted
        assert wanted == (index in found.seen), f"{found.label}: ``{message}`` " + ("was not seen" if wanted else "was seen: say so where the test is declared")
