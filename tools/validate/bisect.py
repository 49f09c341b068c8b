"""Find what broke a notebook: the version of a package, or a commit.

    python -m tools.validate.bisect [--good COMMIT] NAME

It passed at the commit GOOD, the last one that touched its .ipynb half if none is named, and it
fails at HEAD. First that is tried, each with the packages of its own lock file, requirements.txt.
If what passed fails with the packages of HEAD, the packages that differ are exchanged by halves
until one is left; if not, the commits are tried by halves. Each try is a checkout in a temporary
folder, validated by the code that is in it. Nothing in this checkout changes.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import Marker

from tools import git
from tools.files import ROOT

LOCK = "requirements.txt"


class BisectError(Exception):
    """What is wrong and what to do, in one sentence."""


class Pin(NamedTuple):
    """A package in a lock file: its version, and the lines of the file about it."""

    version: str
    lines: str


def pinned(text: str) -> dict[str, Pin]:
    """The packages of a lock file that this machine would install, by their names."""
    pins = {}
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", block):
            name, version, marker = match.groups()
            if not marker or Marker(marker.strip()).evaluate():
                pins[name] = Pin(version, block)
    return pins


def first_bad(count: int, passes: Callable[[int], bool]) -> int:
    """The least number from 1 to `count` for which `passes` is false; it holds for 0, and does not
    for `count`.
    """
    good = 0
    bad = count
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if passes(middle) else (good, middle)
    return bad


class Bisection:
    """The search for what broke the notebook `name` in the repository `root`, with `folder` for its
    checkouts; `say` is told each try.
    """

    def __init__(
        self, name: str, root: str | Path, folder: str | Path, say: Callable[..., Any] = print
    ) -> None:
        self.name = name
        self.root = Path(root)
        self.folder = Path(folder)
        self.say = say
        self.before: dict[str, Pin] = {}  # the packages of the lock file with which it passed

    def git(self, *arguments: str) -> str:
        """What git prints; BisectError if it fails."""
        completed = git.run(*arguments, cwd=self.root, text=True)
        if completed.returncode:
            raise BisectError(f"git {arguments[0]}: {completed.stderr.strip()}")
        return str(completed.stdout).strip()

    def lock(self, commit: str) -> str:
        """The lock file of `commit`."""
        return self.git("show", f"{commit}:{LOCK}")

    def find(self, good: str | None = None) -> str:
        """One sentence that says what broke it; BisectError if that cannot be found.

        good: a commit at which it passed; None is the last one that touched its .ipynb half.
        """
        head = self.git("rev-parse", "HEAD")
        path = f"notebooks/{self.name}.ipynb"
        good = (
            self.git("rev-parse", "--verify", f"{good}^{{commit}}")
            if good
            else self.git("log", "-1", "--format=%H", "--", path)
        )
        if not good:
            raise BisectError(f"There is no commit with {path}")
        if good == head:
            raise BisectError(
                f"{path} changed in the last commit: name one at which it passed, make "
                f"bisect NB={self.name} GOOD=commit"
            )
        self.before = pinned(self.lock(good))
        now = pinned(self.lock(head))
        changed = sorted(
            name
            for name, pin in self.before.items()
            if name not in now or pin.version != now[name].version
        )
        if self.passes(head):
            raise BisectError(
                f"{self.name} passes at {self.about(head)}: what is not committed, or not "
                "of this repository, breaks it"
            )
        if not self.passes(good, changed):
            raise BisectError(
                f"{self.name} fails at {self.about(good)} already: name an earlier "
                f"commit, make bisect NB={self.name} GOOD=commit"
            )
        if changed and not self.passes(good):
            return self._package(good, changed, now)
        commits = self.git("rev-list", "--reverse", "--first-parent", f"{good}..{head}").split()
        number = first_bad(len(commits), lambda number: self.passes(commits[number - 1]))
        return f"{self.about(commits[number - 1])} broke it"

    def _package(self, good: str, changed: list[str], now: dict[str, Pin]) -> str:
        """One sentence that says which of the `changed` packages broke what passed at `good`."""
        number = first_bad(len(changed), lambda number: self.passes(good, changed[number:]))
        culprit = changed[number - 1]
        new = now[culprit].version if culprit in now else "none"
        what = f"{culprit} {self.before[culprit].version} -> {new}"
        others = [name for name in changed if name != culprit]
        if others and self.passes(good, others):
            return f"{what} broke it, together with {' or '.join(changed[: number - 1])}"
        return f"{what} broke it"

    def about(self, commit: str) -> str:
        """A commit as a person names it: its short hash, its date, its subject."""
        return self.git("show", "--no-patch", "--date=short", "--format=%h (%ad, %s)", commit)

    def passes(self, commit: str, old: Sequence[str] = ()) -> bool:
        """Whether the notebook passes at `commit`, with the packages of this environment but for
        those of `old`, which are as they were before.
        """
        self.say(
            f"{commit[:9]}{f' with {len(old)} older packages' if old else ''}: ", end="", flush=True
        )
        checkout = self.checkout(commit)
        python = self.environment(tuple(old))
        completed = subprocess.run(
            [python, "-m", "tools.validate.runner", "validate", "--json", self.name],
            cwd=checkout,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{checkout}", "PYTHONNOUSERSITE": "1"},
        )
        try:
            result = json.loads(completed.stdout.splitlines()[-1])
            outcome, reason = result["outcome"], result["reason"]
        except (IndexError, ValueError):
            lines = completed.stderr.strip().splitlines() or ["the validation did not start"]
            outcome, reason = "failed", lines[-1]
        if outcome not in ("passed", "failed"):
            raise BisectError(f"{self.name} cannot be run here: {reason}")
        self.say(outcome + (f" ({reason.splitlines()[0]})" if reason else ""), flush=True)
        return bool(outcome == "passed")

    @functools.cache  # noqa: B019  lives as long as the search
    def checkout(self, commit: str) -> Path:
        """A folder with the files of `commit`."""
        folder = self.folder / commit[:12]
        folder.mkdir()
        packed = git.run("archive", commit, cwd=self.root, check=True).stdout
        subprocess.run(["tar", "--extract", "--directory", folder], input=packed, check=True)
        if (nbdime := self.root / ".venv-nbdime").is_dir():
            (folder / ".venv-nbdime").symlink_to(nbdime)
        return folder

    @functools.cache  # noqa: B019  lives as long as the search
    def environment(self, old: tuple[str, ...]) -> Path:
        """The Python of this environment, or of one laid over it in which the packages `old` are as
        they were before.
        """
        if not old:
            return Path(sys.executable)
        layer = Path(tempfile.mkdtemp(prefix="environment-", dir=self.folder))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", layer], check=True)
        [packages] = layer.glob("lib/python*/site-packages")
        (packages / "below.pth").write_text(
            "import site; "
            f"site.addsitedir({str(Path(sys.prefix, *packages.relative_to(layer).parts))!r})\n"
        )
        for path in [
            *Path(sys.prefix, "bin").iterdir(),
            *Path(sys.prefix, "share/jupyter/kernels").glob("*/kernel.json"),
        ]:
            self._move(path, layer / path.relative_to(sys.prefix), layer)
        (layer / LOCK).write_text("".join(self.before[name].lines for name in old))
        completed = subprocess.run(
            [
                layer / "bin/uv",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                f"--python={layer}/bin/python",
                "-r",
                layer / LOCK,
            ],
            capture_output=True,
            text=True,
        )
        if completed.returncode:
            raise BisectError(
                f"The older packages could not be installed: {' '.join(completed.stderr.split())}"
            )
        return layer / "bin/python"

    @staticmethod
    def _move(path: Path, target: Path, layer: Path) -> None:
        """Give the environment `layer` a file of the one below it, a program or a kernelspec, that
        names its own Python.
        """
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_text(
                path.read_text(encoding="utf-8").replace(f"{sys.prefix}/bin/", f"{layer}/bin/"),
                encoding="utf-8",
            )
            target.chmod(path.stat().st_mode)
        except UnicodeDecodeError:
            target.symlink_to(path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tools.validate.bisect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--good", metavar="COMMIT", help="a commit at which it passed")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bisect-") as folder:
        try:
            print(
                Bisection(
                    options.name.removesuffix(".ipynb").removeprefix("notebooks/"),
                    ROOT,
                    folder,
                ).find(options.good)
            )
        except BisectError as error:
            parser.exit(1, f"{error}\n")
        except KeyboardInterrupt:
            parser.exit(130, "stopped\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
