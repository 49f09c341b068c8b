"""pytest plugin: what a whole run has proven goes to _build/proof.json, which the page how-tested
shows.

A test may add `record_property("not_covered", "sentence")`, and "measured". A run of a part of the
tests writes nothing. In a whole run each test that a page names with :tested:, or
tests/data/seed.toml for a section of the old page, must have passed.
"""

import datetime
import json
import os
import re
import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from _ext import facts
from tools.files import ROOT

TARGET = ROOT / "_build/proof.json"
MARK = re.compile(r":tested:`([^`]+)`")
PAGE = re.compile(r"\[([\w/.-]+\.rst):\d+")


def claims():
    """(file, line, test) of each :tested: mark in the guide, and of each test that shows what the
    old page said.
    """
    for path in sorted(
        [
            ROOT / "index.rst",
            *(
                path
                for folder in ("about", "triton", "scicomp", "notebooks")
                for path in (ROOT / folder).rglob("*.rst")
            ),
        ]
    ):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for found in MARK.finditer(line):
                yield path.relative_to(ROOT).as_posix(), number, found[1]
    seed = ROOT / "tests/data/seed.toml"
    for number, line in enumerate(
        seed.read_text(encoding="utf-8").splitlines() if seed.exists() else [], start=1
    ):
        for found in re.finditer(r'"(test_\w+\.py::\w+)"', line):
            yield "tests/data/seed.toml", number, found[1]


VERSIONS = {
    "Slurm": "sinfo --version",
    "OpenSSH": "ssh -V",
    "Lmod": "module --version",
    "JupyterLab": "jupyter lab --version",
    "Python": "python3 --version",
    "R": "R --version",
    "nbdime": "nbdime --version",
    "Chromium": "chromium --version",
}


def _short(nodeid):
    """file.py::test of a test's name, without the folder of the file: no two files of tests have
    one name.
    """
    path, _, test = nodeid.partition("::")
    return f"{Path(path).name}::{test}"


class Recorder:
    """Keeps what becomes of each test; `versions` are those of what the cluster runs."""

    def __init__(self, config):
        self.config, self.began = config, time.time()
        self.outcomes, self.sentences, self.versions, self.deselected, self.unproven = (
            {},
            {"measured": set(), "not_covered": set()},
            {},
            False,
            [],
        )

    @property
    def whole(self):
        """Whether this run is one of all tests."""
        chosen = [Path(argument.split("::")[0]).resolve() for argument in self.config.args]
        return not self.deselected and not self.config.option.keyword and chosen == [ROOT / "tests"]

    def pytest_deselected(self, items):
        self.deselected = self.deselected or bool(items)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            name = _short(report.nodeid)
            self.outcomes[name] = (
                "failed" if self.outcomes.get(name) == "failed" else report.outcome
            )
            for name, value in report.user_properties:
                if name in self.sentences:
                    self.sentences[name].add(value)
            if report.skipped and isinstance(report.longrepr, tuple):
                self.sentences["not_covered"].add(
                    f"{_short(report.nodeid)}: {report.longrepr[2].removeprefix('Skipped: ')}"
                )

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.versions |= getattr(node, "workeroutput", {}).get("versions", {})

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        if hasattr(
            self.config, "workeroutput"
        ):  # one of several workers: who started them puts it together
            self.config.workeroutput["versions"] = self.versions
            return
        if not self.whole or session.config.option.collectonly:
            return
        tests = defaultdict(set)
        for name, outcome in self.outcomes.items():
            tests[name.split("[")[0]].add(outcome)
        summed = {
            name: "failed" if "failed" in found else "passed" if found == {"passed"} else "skipped"
            for name, found in tests.items()
        }
        self.unproven = [
            (page, line, test, summed.get(test, "not run"))
            for page, line, test in claims()
            if summed.get(test) != "passed"
        ]
        if self.unproven and os.environ.get("CI") == "true":
            session.exitstatus = session.exitstatus or 1
        write(self.report(summed))

    def report(self, summed):
        """All that proof.json has, as a dict."""
        files, pages = defaultdict(Counter), defaultdict(Counter)
        for name, outcome in self.outcomes.items():
            files[name.split("::")[0]][outcome] += 1
            page = PAGE.search(name)
            kind = {"test_console_blocks.py": "blocks", "test_literals.py": "literals"}.get(
                name.split("::")[0]
            )
            if page and kind and outcome == "passed":
                pages[page[1]][kind] += 1
        git = ["git", "-C", ROOT, "-c", "safe.directory=*"]
        return {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "commit": subprocess.run(
                [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
            ).stdout.strip()
            or "unknown",
            "changed": bool(
                subprocess.run(
                    [*git, "status", "--porcelain"], capture_output=True, text=True
                ).stdout
            ),
            "seconds": round(time.time() - self.began),
            "versions": self.versions,
            "files": {
                name: [counts["passed"], counts["failed"], counts["skipped"]]
                for name, counts in files.items()
            },
            "pages": pages,
            "tests": summed,
            **{name: sorted(found) for name, found in self.sentences.items()},
        }

    def note_versions(self, triton):
        """Ask the cluster what it runs."""
        module = facts.load(ROOT / "triton/facts.toml")["modules"]["jupyter"]
        for name, command in VERSIONS.items():
            printed = triton.run(
                "login", f"module load {module}; {command} 2>&1", "alice", check=False
            ).stdout
            self.versions[name] = (
                found[0] if (found := re.search(r"\d+\.[\d.]+\w*", printed)) else "unknown"
            )

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter):
        for page, line, test, outcome in self.unproven:
            terminalreporter.write_line(
                f"NOT PROVEN: {page}:{line} says that {test} shows it; it was {outcome}", red=True
            )


def write(report):
    TARGET.parent.mkdir(exist_ok=True)
    temporary = TARGET.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(TARGET)


def pytest_configure(config):
    config.pluginmanager.register(Recorder(config), "proof-recorder")
