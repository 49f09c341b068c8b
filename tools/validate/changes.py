"""What can change the result of a notebook, and whether it did since the notebook passed.

A notebook passed a year ago passes today if nothing that it can see has changed. So its sandbox
shows it little: its own code cells, the files of its folder that it declares to read (all that are
no notebooks, if it declares none), the Python environment, the machine's packages, and of this
repository no more than what its needs name. All that has a fingerprint; the fingerprint under which
a notebook passed is kept in a file. When in doubt, it runs.
"""

import dataclasses
import functools
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tools import git
from tools.course import halves
from tools.course.halves import IGNORED, find
from tools.course.model import Notebook
from tools.files import ROOT, write_whole
from tools.validate import sanitize
from tools.validate.catalogue import StoredNotebook

Fingerprint = dict[str, str]
"""What can change the result of a notebook: names, in words for people, and hashes."""

T = TypeVar("T")
Record = Any
"""What a file says of the last run of a notebook. It may hold anything."""

CODE = ROOT / "tools"
KEPT_VARIABLES = ("USER", "LOGNAME", "SHELL", "TERM")  # of the caller's, which a notebook can read
FORMAT = 1
SAMPLE = 0.1  # of the unchanged notebooks, which a pull request runs all the same
# What of the repository a notebook with a need sees, and which lock file it comes from.
SHOWN: dict[str, tuple[str, ...]] = {
    "nbdime": (".venv-nbdime", "tools/requirements-nbdime.txt", "triton/bin/nbdime-git")
}


@dataclass
class Surroundings:
    """Where the things are that notebooks share.

    `root`: the repository; `environment`: what has its Python's packages; `python`: what that
    Python was made from; `packages`: the system's list of its own; `local`: folders that no package
    fills; `kernels`: where kernelspecs are, outside the environment.
    """

    root: Path = ROOT
    environment: Path = Path(sys.prefix)
    python: tuple[Path, ...] = (Path(sys.base_prefix, "bin"), Path(os.__file__).parent)
    packages: Path = Path("/var/lib/dpkg/status")
    local: tuple[Path, ...] = (Path("/usr/local/bin"), Path("/usr/local/lib/R"))
    kernels: tuple[Path, ...] = (
        Path("/usr/local/share/jupyter/kernels"),
        Path("/usr/share/jupyter/kernels"),
    )
    code: Path = CODE
    patterns: Path = sanitize.FILE
    variables: dict[str, str] = field(
        default_factory=lambda: {
            name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ
        }
    )
    # fingerprints of what many notebooks share, each taken once
    seen: dict[Hashable, Any] = field(default_factory=dict)

    @functools.cached_property
    def shared(self) -> Fingerprint:
        """The fingerprints of what every notebook can see."""
        return {
            "Python environment": _hash([_tree(self.environment)]),
            "Python": _hash(
                [sys.version, *(_tree(path, self._beside_python()) for path in self.python)]
            ),
            "lock file": _content(self.root / "requirements.txt"),
            "sanitising patterns": _hash([sanitize.nbval_file(sanitize.load(self.patterns))]),
            "validating code": _hash(
                f"{path.name} {_content(path)}"
                for path in sorted(
                    [*self.code.glob("validate/*.py"), *self.code.glob("course/*.py")]
                )
            ),
            "system's packages": _content(self.packages),
            "programs of this machine": _hash(map(_tree, self.local)),
            "machine": _hash([*os.uname(), sorted(os.sched_getaffinity(0))]),
            "variables": _hash(sorted(self.variables.items())),
        }

    def content(self, path: Path) -> str:
        """The fingerprint of a file's content and mode, read once."""
        return self._once(path, lambda: _content(path))

    def tree(self, path: Path) -> str:
        """The fingerprint of a file or folder without reading it, taken once."""
        return self._once(("tree", path), lambda: _tree(path))

    def files(self, folder: Path) -> dict[Path, list[Path]]:
        """The files of a course's `folder` that are no notebooks, by each folder that they lie
        below and by their own names; looked for once.
        """
        return self._once(("files", folder), lambda: _below(_files(folder)))

    def _beside_python(self) -> Collection[str]:
        """The folders beside the Python that the environment was made from and whose packages it
        does not see.
        """
        config = self.environment / "pyvenv.cfg"
        closed = config.exists() and re.search(
            r"^include-system-site-packages *= *false",
            config.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        return ("site-packages", "dist-packages") if closed else ()

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        if key not in self.seen:
            self.seen[key] = compute()
        value: T = self.seen[key]
        return value


def bare(notebook: Notebook) -> dict[str, Any]:
    """The part of a notebook that is run and compared: code cells, kernel and limits."""
    kernel = notebook.kernel
    course = {
        key: value
        for key, value in notebook.metadata.get("course", {}).items()
        if key in ("needs", "seconds", "memory_mb", "reads")
    }
    return {
        "nbformat": notebook.get("nbformat"),
        "nbformat_minor": notebook.get("nbformat_minor"),
        "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}, "course": course},
        "cells": notebook.code_cells,
    }


def read(notebook: StoredNotebook, surroundings: Surroundings) -> list[Path]:
    """The files that `notebook` may read, as paths below its folder; ValueError says which declared
    one is not there.
    """
    files = surroundings.files(notebook.folder)
    declared = notebook.course.reads
    if declared is None:
        return files[Path(".")]
    if not isinstance(declared, list) or not all(isinstance(name, str) for name in declared):
        raise ValueError(
            f"reads is {declared!r}; it is a list of files and folders beside the "
            "notebook: [data/daylight.csv]"
        )
    paths: set[Path] = set()
    for name in declared:
        wanted = Path(os.path.normpath(notebook.path.parent.relative_to(notebook.folder) / name))
        if wanted not in files or not files[wanted]:
            raise ValueError(
                f"declares that it reads {name}, which is not in {notebook.folder.name}/ "
                "(see notebooks/README.md)"
            )
        paths.update(files[wanted])
    return sorted(paths)


def fingerprint(notebook: StoredNotebook, surroundings: Surroundings) -> Fingerprint:
    """What can change the result of `notebook`."""
    shown = bare(Notebook.read(notebook.path))
    cells = shown["cells"]
    course = shown["metadata"]["course"]
    kernel = shown["metadata"]["kernelspec"]["name"]
    parts = surroundings.shared | {
        "cells": _hash(
            [
                [
                    {
                        key: value
                        for key, value in cell.items()
                        if key not in ("outputs", "execution_count")
                    }
                    for cell in cells
                ]
            ]
        ),
        "stored outputs": _hash(
            [[[cell.get("outputs"), cell.get("execution_count")] for cell in cells]]
        ),
        "format": _hash([shown["nbformat"], shown["nbformat_minor"]]),
        "needs and limits": _hash([course]),
        "name": _hash([notebook.name]),
        "kernel": _hash(
            [kernel, *(surroundings.tree(folder / str(kernel)) for folder in surroundings.kernels)]
        ),
    }
    for name in (name for need in course.get("needs", []) for name in SHOWN.get(need, ())):
        path = surroundings.root / name
        parts[name] = surroundings.tree(path) if path.is_dir() else surroundings.content(path)
    for path in read(notebook, surroundings):
        parts[str(path)] = surroundings.content(notebook.folder / path)
    return parts


def hidden(needs: Iterable[str], surroundings: Surroundings, work: Path) -> list[Path]:
    """The paths of the repository that a notebook with `needs` must not see; `work`, its own
    folder, may be in one.
    """
    shown = [
        Path(surroundings.environment),
        Path(work),
        *(surroundings.root / name for need in needs for name in SHOWN.get(need, ())),
    ]
    return list(_without(surroundings.root, shown))


def _without(folder: Path, shown: Collection[Path]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path in shown or path.is_symlink():
            continue
        if any(path in other.parents for other in shown):
            yield from _without(path, shown)
        else:
            yield path


def reasons(now: Fingerprint, record: Record) -> list[str]:
    """Why a notebook has to run, in words; an empty list if its `record` shows that it passed and
    nothing changed since.
    """
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return ["nothing is known of an earlier run"]
    before = record.get("passed")
    if not isinstance(before, dict):
        return ["it did not pass the last time"]
    return (
        [f"{name} changed" for name in now if name in before and before[name] != now[name]]
        + [f"{name} is new" for name in now.keys() - before.keys()]
        + [f"{name} is gone" for name in before.keys() - now.keys()]
    )


def why_run(notebook: StoredNotebook, surroundings: Surroundings, records: Path) -> list[str]:
    """The reasons for which `notebook` has to run, none if it need not."""
    record = load_record(records, notebook.name)
    try:
        return (
            ["it talks to Slurm, which may have changed"]
            if notebook.online
            else reasons(fingerprint(notebook, surroundings), record)
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return [f"it cannot be read: {error}"]


def drift(notebook: StoredNotebook, record: Record) -> str | None:
    """Why the .md half of `notebook` is another than the .ipynb, in words; None if it is not.

    A `record` tells without reading them.
    """
    pair = notebook.pair
    if (
        not (pair.md and os.path.lexists(pair.md))
        or (record and record.get("halves") == halves.files(pair))
        or halves.unchanged(notebook.folder, pair)
    ):
        return None
    # It imports jupytext, which takes long, and is needed where a half has changed only.
    from tools.course import pairs

    problem = pairs.drift(pair)
    return f"its halves differ: {problem}" if problem else None


def why_run_since(
    base: str, notebooks: Sequence[StoredNotebook], surroundings: Surroundings
) -> dict[str, list[str]]:
    """For each notebook's name the reasons for which it has to run, if all passed at the commit
    `base` on machines like this one.
    """
    with tempfile.TemporaryDirectory(prefix="base-") as temporary:
        top = Path(temporary)
        packed = git.run("archive", base, cwd=surroundings.root)
        if packed.returncode:
            return {
                notebook.name: [
                    "what it was before is not known: "
                    f"{packed.stderr.decode(errors='replace').strip()}"
                ]
                for notebook in notebooks
            }
        subprocess.run(["tar", "--extract", "--directory", top], input=packed.stdout, check=True)
        code = surroundings.code.relative_to(surroundings.root)
        before = dataclasses.replace(
            surroundings,
            root=top,
            code=top / code,
            patterns=top / surroundings.patterns.relative_to(surroundings.root),
        )
        why: dict[str, list[str]] = {}
        for notebook in notebooks:
            folder = top / notebook.folder.relative_to(surroundings.root)
            old = dataclasses.replace(
                notebook, folder=folder, path=folder / notebook.path.relative_to(notebook.folder)
            )
            try:
                old.metadata = Notebook.read(old.path).metadata
                why[notebook.name] = reasons(
                    _committed(notebook, surroundings),
                    {"format": FORMAT, "passed": _committed(old, before)},
                )
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                why[notebook.name] = [f"it cannot be compared: {error}"]
        return why


def _committed(notebook: StoredNotebook, surroundings: Surroundings) -> Fingerprint:
    """The fingerprint without the environments beside the commit, whose lock files it has; with the
    list of system packages.
    """
    parts = fingerprint(notebook, surroundings) | {
        "list of system packages": _content(surroundings.root / "tools/apt.txt")
    }
    return {name: value for name, value in parts.items() if not name.startswith(".venv")}


def rule(environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Why every notebook has to run, whatever changed, or None; and the commit since which changes
    count, None if records tell.

    What a pull request is merged into, the first parent of the commit that CI checks out for it,
    has passed as a whole.
    """
    if environ.get("CI") == "true":
        if environ.get("GITHUB_EVENT_NAME") == "pull_request":
            return None, "HEAD^1"
        return "CI runs all of them", None
    return None, None


def sample(names: Iterable[str], seed: str) -> set[str]:
    """A tenth of `names`, rounded up, the same for the same seed."""
    names = sorted(names)
    return set(random.Random(seed).sample(names, -int(-len(names) * SAMPLE // 1)))


# Records: a file for each notebook, so that two runs at the same time take nothing from each other.


def load_record(records: Path, name: str) -> Record:
    """What is known of the last run of the notebook, None if nothing is."""
    try:
        return json.loads((records / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def measured(record: Record, key: str, otherwise: float) -> float:
    """The number that a record has for `key`, `otherwise` if there is none."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, int | float) and value > 0 else otherwise


def failed(record: Record) -> bool:
    """Whether a record is that of a run which failed."""
    return isinstance(record, dict) and record.get("outcome") == "failed"


def save_record(records: Path, name: str, passed: Fingerprint | None, **measured: object) -> None:
    """Keep the fingerprint under which a notebook `passed`, None if it failed, and what was
    measured; whole or not at all.
    """
    target = records / f"{name}.json"
    record = {"format": FORMAT, "passed": passed, **measured}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, json.dumps(record, indent=1))
    except OSError as error:
        if not passed:
            target.unlink(missing_ok=True)
        print(
            f"{name}: its result could not be kept, so it runs again the next time: {error}",
            file=sys.stderr,
        )


# Fingerprints


def _hash(parts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()[:32]


def _content(path: Path) -> str:
    """Of a file's content and of whether it can be executed; of its absence, if it is not there."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32] + (
                " x" if os.fstat(file.fileno()).st_mode & 0o100 else ""
            )
    except FileNotFoundError:
        return "absent"


def _tree(top: Path, without: Collection[str] = ()) -> str:
    """Of a folder's files, by what changes whenever one is written: the inode's own time, which no
    program can set back. Folders called as one of `without` are left out.
    """
    entries = []
    folders = [os.fspath(top)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listed:
                for entry in listed:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != "__pycache__" and entry.name not in without:
                            folders.append(entry.path)
                    else:
                        status = entry.stat(follow_symlinks=False)
                        entries.append(
                            f"{entry.path} {status.st_size} {status.st_ctime_ns} {status.st_mode}"
                        )
        except NotADirectoryError:
            entries.append(f"{folder} {os.lstat(folder).st_ctime_ns}")
        except FileNotFoundError:
            entries.append(f"{folder} absent")
    entries.sort()
    return hashlib.sha256("\n".join(entries).encode(errors="surrogateescape")).hexdigest()[:32]


def _files(folder: Path) -> list[Path]:
    notebooks = {path for pair in find(folder) for path in (pair.ipynb, pair.md) if path}
    files: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(set(folders) - IGNORED - {"__pycache__"})
        files += [
            path.relative_to(folder)
            for name in names
            if (path := Path(place, name)) not in notebooks and path.is_file()
        ]
    return sorted(files)


def _below(files: Sequence[Path]) -> dict[Path, list[Path]]:
    below: dict[Path, list[Path]] = {Path("."): []}
    for path in files:
        for place in (path, *path.parents):
            below.setdefault(place, []).append(path)
    return below


def copy(notebook: StoredNotebook, surroundings: Surroundings, target: Path) -> Path:
    """Make the folder `target` with what `notebook` may read and the part of it that is run; return
    the path of that.
    """
    for path in read(notebook, surroundings):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(notebook.folder / path, target / path)
    own = target / notebook.path.relative_to(notebook.folder)
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(json.dumps(bare(Notebook.read(notebook.path))), encoding="utf-8")
    return own
