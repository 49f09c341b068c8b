"""What a page types and shows: the commands after its prompts and in its files, word by word."""

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
    """A page with the facts filled in: its words with a role, and what it types and shows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.words: list[tuple[int, Word]] = pages.roles(name)
        self.code: list[tuple[str, str]] = []  # language, content
        self.files: dict[str, str] = {}  # by name, what is in those that the page shows
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
        """All that is typed after prompts, that other code blocks hold, and that scripts run."""
        found = []
        for language, source in self.code:
            for line in source.splitlines():
                prompt = pages.PROMPT.match(line)
                if prompt and prompt["command"]:
                    found.append(prompt["command"])
                elif language in ("bash", "text") and line.strip():
                    found.append(line.strip())
        for text in self.files.values():
            for line in text.splitlines():
                if line.startswith("#SBATCH "):
                    found.append("sbatch " + line.removeprefix("#SBATCH "))
                elif text.startswith("#!/bin/bash") and re.match(r"\w", line):
                    found.append(line)
        return found

    @cached_property
    def simple_commands(self) -> list[list[str]]:
        """The same, taken apart at pipes and the like, each as a list of words."""
        return [words for command in self.commands for words in simple_commands(command)]

    @cached_property
    def typed_words(self) -> set[str]:
        """Every word of every command, and of the parts that = and $( separate."""
        found: set[str] = set()
        for command in self.commands:
            for word in split(command, True):
                found |= {word, *re.split(r"=|\$\(|\)", word)}
        return found - {""}

    @cached_property
    def programs(self) -> set[str]:
        """The programs that commands of the page run."""
        return {words[0].rsplit("/", 1)[-1] for words in self.simple_commands}

    def arguments(self, program: str) -> set[str]:
        """The words that stand behind `program` in commands of the page."""
        return {word for words in self.simple_commands if words[0] == program for word in words[1:]}

    def values(self, flag: str) -> set[str]:
        """What this option is given in the commands of the page."""
        found: set[str] = set()
        for words in self.simple_commands:
            found |= {word.partition("=")[2] for word in words if word.startswith(flag + "=")}
            if len(flag) == 2:
                found |= {value for word, value in pairwise(words) if word == flag}
        return found

    def shows(self, text: str) -> bool:
        """Whether a command or a file of the page holds `text`, not as a part of a longer word."""
        begin = r"(?<!\w)" if re.match(r"\w", text) else ""
        end = r"(?!\w)" if re.search(r"\w$", text) else ""
        pattern = re.compile(begin + re.escape(text) + end)
        return any(pattern.search(source) for source in [*self.commands, *self.files.values()])


@cache
def page(name: str) -> Page:
    """The page of this name, read once."""
    return Page(name)


def split(command: str, comments: bool = False) -> list[str]:
    """The words of a command as a shell has them; where its quotes do not match, as they stand."""
    try:
        return shlex.split(command, comments)
    except ValueError:
        return command.split()


def simple_commands(command: str) -> list[list[str]]:
    """The commands that pipes, && and $( ) connect, each as a list of words."""
    return [
        words
        for part in re.split(r"\|\|?|&&|;|\$\(|^\w+=\$\(", command.replace(")", " "))
        if (words := split(part, True))
    ]
