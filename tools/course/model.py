"""A notebook of the course as Python reads it: its JSON, with names for what the course uses of it.

A Notebook and a Cell are the dicts that stand in the file. So what no name here stands for is kept
when a notebook is written, and each can be used wherever a dict is.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

NEEDED = {"nbdime": "git and nbdime", "slurm": "a cluster with Slurm"}
"""What a reader must have for each word of `needs`; of a language the kernel says it."""


@dataclass(frozen=True)
class Course:
    """What the author of a notebook declares in its metadata, under `course`."""

    goal: str = ""
    """What a reader can do afterwards, as a clause: "Find out which cell ran"."""
    before: str = ""
    """What a reader should know, as the end of a sentence: "lists and loops of Python"."""
    minutes: int = 0
    """Teaching time."""
    needs: tuple[str, ...] = ()
    """What a machine must have: words of tools/validate/requirements.py."""
    reads: Any = None
    """The files and folders beside the notebook that it reads; None means all. Not yet checked."""
    seconds: float = 60
    """How long it may take, its kernel's start included."""
    memory_mb: float = 500
    """How much memory its largest process may take, in megabytes."""
    partition: str = ""
    """The partition of Slurm that its job asks for; empty means the cluster's usual one."""

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Course":
        """What the metadata of a notebook declare; where they say nothing, what stands above."""
        declared = metadata.get("course")
        if not isinstance(declared, dict):
            return cls()
        known = {key: value for key, value in declared.items() if key in cls.__dataclass_fields__}
        return cls(**known | {"needs": tuple(declared.get("needs") or ())})

    @property
    def needed(self) -> str:
        """What a reader must have beyond the kernel, in words; empty if nothing."""
        return ", ".join(NEEDED[need] for need in self.needs if need in NEEDED)

    @property
    def known(self) -> str:
        """What a reader should know before: a sentence, empty if it is not declared."""
        return f"You should know {self.before}." if self.before else ""

    @property
    def promise(self) -> str:
        """What the notebook is for: a sentence for its readers."""
        return f"Afterwards you can {self.goal[0].lower()}{self.goal[1:]}."


class Rule(NamedTuple):
    """What a value that is declared must be: whether it is that, and in words."""

    holds: Callable[[Any], bool]
    wanted: str


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


RULES = {
    "goal": Rule(lambda value: isinstance(value, str) and bool(value.strip()), "a sentence"),
    "minutes": Rule(lambda value: isinstance(value, int) and 10 <= value <= 30, "10 to 30"),
    "needs": Rule(
        lambda value: isinstance(value, list) and all(isinstance(need, str) for need in value),
        "a list of words",
    ),
    "seconds": Rule(_is_positive, "a positive number"),
    "memory_mb": Rule(_is_positive, "a positive number"),
}
"""What every notebook of the course must declare."""


def wrong_values(declared: Mapping[str, Any]) -> dict[str, str]:
    """Which of the values that a notebook must declare are wrong or missing, and what each must be,
    in words.
    """
    return {name: rule.wanted for name, rule in RULES.items() if not rule.holds(declared.get(name))}


@dataclass(frozen=True)
class Measured:
    """What the last run that was stored took: `make refresh` writes it under `measured`."""

    seconds: float = 0
    memory_mb: float = 0
    cells: tuple[float, ...] = ()
    """The seconds of each code cell."""

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Measured":
        """What the metadata of a notebook say; zeros where they say nothing."""
        stored = metadata.get("measured")
        if not isinstance(stored, dict):
            return cls()
        return cls(
            stored.get("seconds", 0), stored.get("memory_mb", 0), tuple(stored.get("cells", ()))
        )


class Cell(dict[str, Any]):
    """A cell of a notebook."""

    @property
    def kind(self) -> str:
        """`code`, `markdown` or `raw`."""
        return str(self["cell_type"])

    @property
    def source(self) -> str:
        """Its source as one text; a file may hold it as a list of lines."""
        text = self["source"]
        return text if isinstance(text, str) else "".join(text)

    @property
    def tags(self) -> list[str]:
        tags: list[str] = self["metadata"].get("tags", [])
        return tags

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """What it shows; nothing if it is no code cell."""
        outputs: list[dict[str, Any]] = self.get("outputs", [])
        return outputs

    @property
    def is_title(self) -> bool:
        """Whether the title of the notebook stands in it."""
        return self.kind == "markdown" and self.source.startswith("# ")

    def having(self, **parts: Any) -> "Cell":
        """The cell with these parts in place of its own."""
        return Cell(self | parts)


class Notebook(dict[str, Any]):
    """A notebook."""

    @classmethod
    def read(cls, path: Path) -> "Notebook":
        """The notebook that is stored at `path`.

        Raises OSError, ValueError if it is no JSON, TypeError if that is no notebook.
        """
        stored = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(stored, dict):
            raise TypeError("it holds no notebook")
        for key, kind in (("cells", list), ("metadata", dict)):
            if not isinstance(stored.get(key), kind):
                raise TypeError(f"it has no {key}")
        return cls(stored)

    @property
    def cells(self) -> list[Cell]:
        return [Cell(cell) for cell in self.get("cells", [])]

    @property
    def code_cells(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == "code"]

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self.get("metadata", {})
        return metadata

    @property
    def course(self) -> Course:
        """What its author declares."""
        return Course.of(self.metadata)

    @property
    def measured(self) -> Measured:
        """What its last run took."""
        return Measured.of(self.metadata)

    @property
    def kernel(self) -> str | None:
        """The name of its kernelspec, None if it names none."""
        name: str | None = self.metadata.get("kernelspec", {}).get("name")
        return name

    @property
    def title(self) -> str:
        """Its title, without the mark of a heading; StopIteration if it has none."""
        text = next(cell.source for cell in self.cells if cell.source.startswith("# "))
        return text.splitlines()[0].lstrip("# ")

    def having(self, cells: Iterable[dict[str, Any]], **parts: Any) -> "Notebook":
        """The notebook with these cells, and with these parts in place of its own."""
        return Notebook(self | {"cells": list(cells)} | parts)
