"""What can change the result of a notebook, and whether it did since the notebook passed.

A notebook passed a year ago passes today if nothing that it can see has changed. So its sandbox
shows it little: its own code cells, the files of its folder that it declares to read (all that are
no notebooks, if it declares none), the Python environment, the machine's packages, and of this
repository no more than what its needs name. All that has a fingerprint; the fingerprint under which
a notebook passed is kept in a file. When in doubt, it runs.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tools.course import halves
from tools.course.halves import IGNORED, find
from tools.course.model import Notebook
from tools.files import ROOT, write_whole
from tools.validate import sanitize
from tools.validate.catalogue import StoredNotebook

Fingerprint = dict[str, str]
"""What can change the result of a notebook: names, in words for people, and hashes."""

T = TypeVar("T")
Record = dict[str, Any]
"""What a file says of the last run of a notebook; each value may be anything."""

KEPT_VARIABLES = ("USER", "LOGNAME", "SHELL", "TERM")  # of the caller's, which a notebook can read
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
            "sanitising patterns": _hash(
                [sanitize.nbval_file(sanitize.load(self.root / "tools/validate/sanitize.toml"))]
            ),
            "validating code": _hash(
                f"{path.name} {_content(path)}"
                for folder in ("validate", "course")
                for path in sorted((self.root / "tools" / folder).glob("*.py"))
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
    kernel = shown["metadata"]["kernelspec"]["name"]
    parts = surroundings.shared | {
        "the notebook": _hash([notebook.name, shown]),
        "kernel": _hash(surroundings.tree(folder / str(kernel)) for folder in surroundings.kernels),
    }
    for path in _shown(shown["metadata"]["course"].get("needs", []), surroundings.root):
        parts[path.name] = surroundings.tree(path) if path.is_dir() else surroundings.content(path)
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
        *_shown(needs, surroundings.root),
    ]
    return list(_without(surroundings.root, shown))


def _shown(needs: Iterable[str], root: Path) -> list[Path]:
    return [root / name for need in needs for name in SHOWN.get(need, ())]


def _without(folder: Path, shown: Collection[Path]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path in shown or path.is_symlink():
            continue
        if any(path in other.parents for other in shown):
            yield from _without(path, shown)
        else:
            yield path


def why_run(notebook: StoredNotebook, surroundings: Surroundings, records: Path) -> str | None:
    """Why `notebook` has to run, in words; None if its record shows that it passed and that nothing
    which it can see changed since.
    """
    if notebook.online:
        return "it talks to Slurm, which may have changed"
    before = load_record(records, notebook.name).get("passed")
    if not isinstance(before, dict):
        return "no pass of it is known"
    try:
        now = fingerprint(notebook, surroundings)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"it cannot be read: {error}"
    changed = [name for name in now | before if now.get(name) != before.get(name)]
    return f"{changed[0]} changed" if changed else None


def drift(notebook: StoredNotebook, record: Record) -> str | None:
    """Why the .md half of `notebook` is another than the .ipynb, in words; None if it is not.

    A `record` tells without reading them.
    """
    pair = notebook.pair
    if pair.missing or record.get("halves") == halves.files(pair) or halves.unchanged(pair):
        return None
    # It imports jupytext, which takes long, and is needed where a half has changed only.
    from tools.course import pairs

    problem = pairs.drift(pair)
    return f"its halves differ: {problem}" if problem else None


# Records: a file for each notebook, so that two runs at the same time take nothing from each other.


def load_record(records: Path, name: str) -> Record:
    """What is known of the last run of the notebook, empty if nothing is."""
    try:
        record = json.loads((records / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def measured(record: Record, key: str, otherwise: float) -> float:
    """The number that a record has for `key`, `otherwise` if there is none."""
    value = record.get(key)
    return value if isinstance(value, int | float) and value > 0 else otherwise


def save_record(records: Path, name: str, passed: Fingerprint | None, **measured: object) -> None:
    """Keep the fingerprint under which a notebook `passed`, None if it failed, and what was
    measured; whole or not at all.
    """
    target = records / f"{name}.json"
    record = {"passed": passed, **measured}
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
    notebooks = {path for pair in find(folder) for path in (pair.ipynb, pair.md)}
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
