"""What became of a notebook that was validated: what every part of a validation hands on.

This module imports none of the others, so that each of them can import it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict

Outcome = Literal["passed", "failed", "skipped", "unchanged"]


class Problem(NamedTuple):
    """What is wrong in a cell: the line of the .md half at which the cell begins, 0 if it is not
    known, and the text.
    """

    line: int
    text: str


@dataclass
class CellResult:
    """What became of a code cell that ran."""

    cell: int
    """Its number among the code cells, from 1."""
    seconds: float
    """How long it took, in seconds."""
    outputs: list[dict[str, Any]] | None = None
    """Its fresh outputs, if it failed."""


@dataclass
class Result:
    """What became of a notebook."""

    name: str
    outcome: Outcome
    reason: str = ""
    """Why it did not pass, in words; empty if it passed."""
    seconds: float = 0.0
    """The wall time of the whole run."""
    memory_mb: float = 0.0
    """The peak resident memory of its largest process, in megabytes."""
    problems: list[Problem] = field(default_factory=list)
    cells: list[CellResult] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The result as JSON can hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Result":
        """The Result of which as_json() gave `stored`.

        Raises TypeError if something is missing or has an unknown name.
        """
        return cls(
            **stored
            | {
                "problems": [Problem(*problem) for problem in stored["problems"]],
                "cells": [CellResult(**cell) for cell in stored["cells"]],
            }
        )


Report = Callable[[Result], object]
"""Called with each Result as it comes."""


class RanCell(TypedDict):
    """What the guard saw of a code cell. It comes out of the sandbox as JSON."""

    cell: int
    outcome: str
    problems: list[str]
    seconds: float
    outputs: list[dict[str, Any]] | None
    count: int | None
    """The number that the kernel gave it."""


class Run(TypedDict):
    """What the guard saw of a notebook: its code cells, the wall time in seconds, the peak memory
    in megabytes, and what the kernel says of its language if the outputs were recorded.
    """

    cells: list[RanCell]
    seconds: float
    memory_mb: float
    language: dict[str, Any] | None
