"""Sphinx extension: roles for words that a test can check.

``:file:`~/.ssh/config``` says that the word is a file, ``:message:`Killed``` that a program prints
it. The word looks like code, except for ``amount``, and the role is its class in the HTML. The role
decides which check a word gets (tools/proof/roles.py), so no check guesses it from the sentence.

``:option:`--mem <sbatch --mem>``` shows ``--mem``. Below ``.. program:: sbatch`` the short form
``:option:`--mem``` is enough, as everywhere in Sphinx.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole
from sphinx.util.typing import ExtensionMetadata

ROLES = {
    "amount": "a duration or a size, and which number it is: `two minutes <FILE: NAME>`",
    "cell": "a line of a notebook's cell, or what stands beside a cell",
    "command": "what is typed: a program with its arguments",
    "elsewhere": "what nothing at hand can tell",
    "envvar": "a variable of the shell, with or without $",
    "file": "a file, a folder, or the ending of a file's name",
    "host": "a host, a domain, a network, a port, a kind of proxy, or an address",
    "kbd": "keys that are pressed, or an answer that is typed",
    "kernelspec": "a key or a value of kernel.json, or what the kernel gets of it",
    "message": "what a program prints or shows",
    "module": "a module that can be loaded, or its version",
    "option": "an option of a program: `--mem <sbatch --mem>`",
    "package": "a Python package that can be installed",
    "program": "the name of a program",
    "slurm": "a state, a reason, a column, a partition or a sign of Slurm",
}
WITH_TARGET = ("amount", "option")  # what stands between < and > is not shown
TARGET = re.compile(r"(?P<text>.+?)\s*<(?P<target>[^<>]+)>", re.DOTALL)
SOURCE = re.compile(
    rf"(?<![\w`\\]):(?P<role>{'|'.join(ROLES)}):`(?P<text>(?:[^`\\]|\\.)+)`", re.DOTALL
)
_PROGRAM = re.compile(r"^\.\. program:: *(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Word:
    """A word with a role. `of` is the program of an option, or the source of an amount."""

    role: str
    text: str
    of: str = ""


def _escaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _parts(role: str, text: str) -> tuple[str, str]:
    """(the shown text, the text between < and >)."""
    target = TARGET.fullmatch(text) if role in WITH_TARGET else None
    return (target["text"], target["target"]) if target else (text, "")


def words(source: str) -> list[tuple[int, Word]]:
    """(offset, word) of the words with a role in the source of a reST page, in order."""
    programs = [(match.start(), match[1].strip()) for match in _PROGRAM.finditer(source)]
    result = []
    for match in SOURCE.finditer(source):
        role = match["role"]
        text, of = _parts(role, " ".join(_escaped(match["text"]).split()))
        if role == "option":
            above = (name for at, name in reversed(programs) if at < match.start())
            program, _, named = of.rpartition(" ")
            # A target with another option than the text names no program.
            right = not of or named == re.split("[= ]", text)[0]
            of = (program or next(above, "")) if right else ""
        result.append((match.start(), Word(role, text, of)))
    return result


def as_shown(source: str) -> str:
    """The source of a page in which each word with a role is a ``literal``, or plain text.

    Line numbers do not change.
    """

    def shown(match: re.Match[str]) -> str:
        text, _ = _parts(match["role"], _escaped(match["text"]))
        lines = "\n" * (match["text"].count("\n") - text.count("\n"))
        return f"{text}{lines}" if match["role"] == "amount" else f"``{text}``{lines}"

    return SOURCE.sub(shown, source)


class WordRole(SphinxRole):
    """One of ROLES; its name becomes the class of the word."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        role = self.name.rpartition(":")[2]
        text, _ = _parts(role, self.text)
        kind: Callable[..., nodes.Node] = nodes.inline if role == "amount" else nodes.literal
        return [kind(self.rawtext, text, classes=[role])], []


def setup(app: Sphinx) -> ExtensionMetadata:
    for name in ROLES:
        if name in ("envvar", "option"):
            # Sphinx's own role links to a description of the option, and the guide has none.
            app.add_role_to_domain("std", name, WordRole(), override=True)
        else:
            app.add_role(name, WordRole(), override=True)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
