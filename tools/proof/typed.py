"""The commands of a page, after its prompts and in its files, word by word."""

import os
import re
import shlex
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

from _ext.roles import Word
from tools import pages


class Page:
    """A page with the facts filled in: its words with a role, its commands and its files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.words: list[tuple[int, Word]] = pages.roles(name)
        self.code: list[tuple[str, str]] = []  # (language, content) of each code block
        self.files: dict[str, str] = {}  # {name: content} of the files that the page shows
        document = Document(pages.read(name), name)
        for region in DirectiveLexer("code-block|rendered-file")(document):
            argument = (region.lexemes["arguments"] or "").strip()
            if region.lexemes["directive"] == "rendered-file":
                path = os.path.normpath(Path(name).parent / argument)
                self.files[Path(argument).name] = pages.read(path)
            else:
                self.code.append((argument, str(region.lexemes["source"])))

    @cached_property
    def commands(self) -> list[str]:
        """The commands after prompts, in other code blocks and in the files."""
        commands = []
        for language, source in self.code:
            for line in source.splitlines():
                prompt = pages.PROMPT.match(line)
                if prompt and prompt["command"]:
                    commands.append(prompt["command"])
                elif language in ("bash", "text") and line.strip():
                    commands.append(line.strip())
        for text in self.files.values():
            for line in text.splitlines():
                if line.startswith("#SBATCH "):
                    commands.append("sbatch " + line.removeprefix("#SBATCH "))
                elif text.startswith("#!/bin/bash") and re.match(r"\w", line):
                    commands.append(line)
        return commands

    @cached_property
    def simple_commands(self) -> list[list[str]]:
        """The same commands, split at pipes and the like, each as a list of words."""
        return [words for command in self.commands for words in simple_commands(command)]

    @cached_property
    def typed_words(self) -> set[str]:
        """Every word of every command, and of the parts that = and $( separate."""
        words: set[str] = set()
        for command in self.commands:
            for word in split(command, True):
                words |= {word, *re.split(r"=|\$\(|\)", word)}
        return words - {""}

    @cached_property
    def programs(self) -> set[str]:
        """The programs that commands of the page run."""
        return {words[0].rsplit("/", 1)[-1] for words in self.simple_commands}

    def arguments(self, program: str) -> set[str]:
        """The words that follow `program` in commands of the page."""
        return {word for words in self.simple_commands if words[0] == program for word in words[1:]}

    def values(self, flag: str) -> set[str]:
        """The values of this option in the commands of the page."""
        values: set[str] = set()
        for words in self.simple_commands:
            values |= {word.partition("=")[2] for word in words if word.startswith(flag + "=")}
            if len(flag) == 2:
                values |= {value for word, value in pairwise(words) if word == flag}
        return values

    def shows(self, text: str) -> bool:
        """Whether a command or a file of the page holds `text`, as whole words."""
        begin = r"(?<!\w)" if re.match(r"\w", text) else ""
        end = r"(?!\w)" if re.search(r"\w$", text) else ""
        pattern = re.compile(begin + re.escape(text) + end)
        return any(pattern.search(source) for source in [*self.commands, *self.files.values()])


@cache
def page(name: str) -> Page:
    """The page of this name, read once."""
    return Page(name)


def split(command: str, comments: bool = False) -> list[str]:
    """The words of a command, split as in a shell, or at spaces if its quotes do not match."""
    try:
        return shlex.split(command, comments)
    except ValueError:
        return command.split()


def simple_commands(command: str) -> list[list[str]]:
    """The commands that pipes, && and $( ) join, each as a list of words."""
    return [
        words
        for part in re.split(r"\|\|?|&&|;|\$\(|^\w+=\$\(", command.replace(")", " "))
        if (words := split(part, True))
    ]
