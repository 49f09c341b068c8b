"""Which notebooks there are to validate, where each is stored, and what it declares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.course import halves
from tools.course.model import Course, Measured, Notebook
from tools.files import ROOT

NOTEBOOKS = ROOT / "notebooks"


@dataclass
class StoredNotebook:
    """A notebook that can be run: `path` lies below `folder`, which is copied with its data."""

    name: str
    path: Path
    folder: Path
    metadata: dict[str, Any]
    fault: str = ""
    """Why the file is no notebook, in words; empty if it is one."""
    has_code: bool = True

    @property
    def pair(self) -> halves.Pair:
        return halves.Pair(self.name, self.folder)

    @property
    def course(self) -> Course:
        """What its author declares."""
        return Course.of(self.metadata)

    @property
    def limits(self) -> tuple[float, float]:
        """The seconds and the megabytes that it may take."""
        return self.course.seconds, self.course.memory_mb

    @property
    def online(self) -> bool:
        """Whether it keeps the network: to talk to Slurm."""
        return "slurm" in self.course.needs

    @property
    def expected_seconds(self) -> float:
        """What its last stored run took, its limit if nothing is known."""
        return Measured.of(self.metadata).seconds or self.course.seconds


def load(names: Sequence[str] = (), folder: Path = NOTEBOOKS) -> list[StoredNotebook]:
    """The notebooks called `names`, all if there are none; ValueError names one that does not
    exist.
    """
    pairs = halves.find(folder)
    paths = {pair.name: pair.ipynb for pair in pairs if pair.missing != pair.ipynb}
    names = [next((pair.name for pair in halves.called(pairs, name)), name) for name in names]
    unknown = set(names) - set(paths)
    if unknown:
        raise ValueError(
            f"there is no notebook {unknown.pop()} in {folder.name}/; there are: "
            f"{', '.join(sorted(paths))}"
        )
    return [_read(name, paths[name], Path(folder)) for name in names or sorted(paths)]


def _read(name: str, path: Path, folder: Path) -> StoredNotebook:
    try:
        notebook = Notebook.read(path)
        return StoredNotebook(
            name, path, folder, notebook.metadata, has_code=bool(notebook.code_cells)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:  # the pair check explains it
        fault = f"{type(error).__name__}: {error}".splitlines()[0]
        return StoredNotebook(name, path, folder, {}, fault)


def named(text: str, folder: Path = NOTEBOOKS) -> list[str]:
    """The names in a text: all of it, if it is the name of a notebook, else its words."""
    return [text] if halves.called(halves.find(folder), text) else text.split()
