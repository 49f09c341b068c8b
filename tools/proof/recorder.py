"""pytest plugin: writes what a run of all tests has proven into _build/proof.json.

The page how-tested shows that file. A test declares with record_property what it proves:

    record_property("console block", page)       it types a block of that page
    record_property("word", page)                it checks a word on that page
    record_property("typed on", host)            it types a command there
    record_property("measured", sentence)        the page how-tested shows this measurement
    record_property("not_covered", sentence)     it leaves this out, with the reason

A run of some tests writes nothing. In a run of all tests, each test must pass that a page names
with :tested:, or that tests/data/seed.toml names for a section of the old page. After it, a run of
what failed in it (@_build/failed.txt) is the end of that run: what passes now is told on the page.
"""

import datetime
import json
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools import git
from tools.files import ROOT, write_whole
from triton.lib import clusterfacts

if TYPE_CHECKING:  # a guide without a cluster can use the plugin too
    from tools.cluster.small_triton import Triton

TARGET = ROOT / "_build/proof.json"
RESULTS = ROOT / "_build/results.json"  # of the last run of all tests, for a second try
FAILED = ROOT / "_build/failed.txt"  # the tests that failed in it, as arguments of pytest
MARK = re.compile(r":tested:`([^`]+)`")
SEED_TEST = re.compile(r'"(test_\w+\.py::\w+)"')
# {what a test proves of a page: its name in proof.json}
SHOWN = {"console block": "blocks", "word": "words"}


def claims() -> Iterator[tuple[str, int, str]]:
    """(file, line, test) of each :tested: mark in the guide, and of each test in seed.toml."""
    pages = [
        ROOT / "index.rst",
        *(
            path
            for folder in ("about", "triton", "scicomp", "notebooks")
            for path in (ROOT / folder).rglob("*.rst")
        ),
    ]
    for path in sorted(pages):
        yield from _tests_in(path, MARK)
    seed = ROOT / "tests/data/seed.toml"
    if seed.exists():
        yield from _tests_in(seed, SEED_TEST)


def _tests_in(path: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, int, str]]:
    """(file, line, test) of each place where `pattern` names a test."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for match in pattern.finditer(line):
            yield path.relative_to(ROOT).as_posix(), number, match[1]


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


def _short(nodeid: str) -> str:
    """file.py::test of a node id, without the folder: no two test files have the same name."""
    path, _, test = nodeid.partition("::")
    return f"{Path(path).name}::{test}"


class Recorder:
    """Keeps the results of the tests.

    `outcomes`: {test: passed, failed or skipped}. `shown`: the pages whose blocks and words a test
    proves. `typed`: the hosts on which it types a command. `sentences`: what tests measured or left
    out. `versions`: those of the programs on the cluster. `unproven`: the claims whose test did not
    pass, with its outcome. `second_try`: whether this run tries again what failed before.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.began = time.time()
        self.outcomes: dict[str, str] = {}
        self.shown: dict[str, list[tuple[str, str]]] = defaultdict(list)  # (page, kind)
        self.typed: dict[str, list[str]] = defaultdict(list)  # hosts of the commands
        self.sentences: dict[str, set[str]] = {"measured": set(), "not_covered": set()}
        self.versions: dict[str, str] = {}
        self.failed_before: set[str] = set()
        self.deselected = False
        self.unproven: list[tuple[str, int, str, str]] = []
        self.failed: list[str] = []
        again = f"@{FAILED.relative_to(ROOT)}"
        self.second_try = again in map(str, config.invocation_params.args) and RESULTS.exists()
        if self.second_try:
            self._restore(json.loads(RESULTS.read_text(encoding="utf-8")))

    def _restore(self, results: dict[str, Any]) -> None:
        """Begin with the results of the run before; what failed in it counts only as failed if it
        fails again.
        """
        self.began, self.versions = results["began"], results["versions"]
        self.failed_before = {t for t, o in results["outcomes"].items() if o == "failed"}
        self.outcomes.update(results["outcomes"])
        for test, shown in results["shown"].items():
            self.shown[test] = [(page, kind) for page, kind in shown]
        self.typed.update(results["typed"])
        for name, sentences in results["sentences"].items():
            self.sentences[name].update(sentences)

    @property
    def whole(self) -> bool:
        """Whether this is a run of all tests, or its second try."""
        if self.second_try:
            return True
        chosen = [Path(argument.split("::")[0]).resolve() for argument in self.config.args]
        return not self.deselected and not self.config.option.keyword and chosen == [ROOT / "tests"]

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note that some tests do not run."""
        self.deselected = self.deselected or bool(items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test, and its recorded properties."""
        if report.when != "call" and report.passed:
            return
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)
        test = _short(report.nodeid)
        if test in self.failed_before:
            self.failed_before.remove(test)
            self.outcomes.pop(test)
            for kept in (self.shown, self.typed):
                kept.pop(test, None)
            if report.passed:
                self.sentences["measured"].add(
                    f"{test} failed while other tests ran, and passed when it ran again alone."
                )
        self.outcomes[test] = "failed" if self.outcomes.get(test) == "failed" else report.outcome
        for name, value in report.user_properties:
            if name in self.sentences:
                self.sentences[name].add(str(value))
            elif name in SHOWN and report.when == "call":
                self.shown[test].append((str(value), SHOWN[name]))
            elif name == "typed on" and report.when == "call":
                self.typed[test].append(str(value))
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self.sentences["not_covered"].add(f"{test}: {reason}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the versions that a worker of pytest-xdist has collected."""
        self.versions |= getattr(node, "workeroutput", {}).get("versions", {})

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write proof.json after a run of all tests; with CI=true, fail if a claim is unproven."""
        if hasattr(self.config, "workeroutput"):
            # This process is a worker of pytest-xdist: the one that started it writes the file.
            self.config.workeroutput["versions"] = self.versions
            return
        if not self.whole or session.config.option.collectonly:
            return
        self._keep()
        outcomes = self._outcomes_of_functions()
        self.unproven = [
            (page, line, test, outcomes.get(test, "not run"))
            for page, line, test in claims()
            if outcomes.get(test) != "passed"
        ]
        if self.unproven and os.environ.get("CI") == "true":
            session.exitstatus = session.exitstatus or 1
        write(self.report(outcomes))

    def _keep(self) -> None:
        """Write the results for a second try."""
        results = {
            "began": self.began,
            "versions": self.versions,
            "outcomes": self.outcomes,
            "shown": self.shown,
            "typed": self.typed,
            "sentences": {name: sorted(sentences) for name, sentences in self.sentences.items()},
        }
        RESULTS.parent.mkdir(exist_ok=True)
        write_whole(RESULTS, json.dumps(results))
        write_whole(FAILED, "".join(f"{test}\n" for test in self.failed))

    def _outcomes_of_functions(self) -> dict[str, str]:
        """The outcome of each test function: passed if it passed with all its parameters."""
        tests = defaultdict(set)
        for name, outcome in self.outcomes.items():
            tests[name.split("[")[0]].add(outcome)
        return {
            name: "failed" if "failed" in kinds else "passed" if kinds == {"passed"} else "skipped"
            for name, kinds in tests.items()
        }

    def report(self, outcomes: dict[str, str]) -> dict[str, Any]:
        """The content of proof.json; `outcomes` are those of test functions."""
        files: dict[str, Counter[str]] = defaultdict(Counter)
        pages: dict[str, Counter[str]] = defaultdict(Counter)
        hosts: Counter[str] = Counter()
        for name, outcome in self.outcomes.items():
            files[name.split("::")[0]][outcome] += 1
            hosts.update(self.typed[name] if outcome == "passed" else ())
            for page, kind in self.shown[name] if outcome == "passed" else ():
                pages[page][kind] += 1
        return {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "commit": git.told(ROOT, "rev-parse", "--short", "HEAD") or "unknown",
            "changed": bool(git.told(ROOT, "status", "--porcelain")),
            "seconds": round(time.time() - self.began),
            "versions": self.versions,
            "files": {
                name: [counts["passed"], counts["failed"], counts["skipped"]]
                for name, counts in files.items()
            },
            "pages": pages,
            "hosts": hosts,
            "tests": outcomes,
            **{name: sorted(sentences) for name, sentences in self.sentences.items()},
        }

    def note_versions(self, triton: "Triton") -> None:
        """Ask the cluster for the versions of its programs."""
        module = clusterfacts.load(ROOT / "triton/facts.toml").modules.jupyter
        for name, command in VERSIONS.items():
            printed = triton.run(
                "login", f"module load {module}; {command} 2>&1", "alice", check=False
            ).stdout
            version = re.search(r"\d+\.[\d.]+\w*", printed)
            self.versions[name] = version[0] if version else "unknown"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the claims that this run has not proven."""
        for page, line, test, outcome in self.unproven:
            terminalreporter.write_line(
                f"NOT PROVEN: {page}:{line} says that {test} shows it; it was {outcome}", red=True
            )


def write(report: dict[str, Any]) -> None:
    """Write proof.json, whole or not at all."""
    TARGET.parent.mkdir(exist_ok=True)
    write_whole(TARGET, json.dumps(report, indent=1, sort_keys=True) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record."""
    config.pluginmanager.register(Recorder(config), "proof-recorder")
