"""A reader who goes through a page and types what it says."""

import re
import threading
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from _ext.facts import substitute
from tools import pages
from tools.cluster.small_triton import PROMPTS, Triton
from tools.cluster.terminal import GoesOn, Stuck, Terminal
from tools.files import ROOT
from tools.pages import Block, Command
from tools.proof import stages

LIST = ROOT / "tools/proof/console_blocks.toml"
NOT_RUN = tomllib.loads(substitute(LIST.read_text(encoding="utf-8"), pages.facts())[0])


def typed(page: str) -> list[Block]:
    """The console blocks of `page` that a reader types, in order: all but those that LIST names."""
    return [
        block for block in pages.blocks(page) if block.commands[0].text not in NOT_RUN.get(page, {})
    ]


class Reader(threading.Thread):
    """A thread that types the blocks of one page in order, with an account of its own.

    `outcomes` has a Future for the line of each block.
    """

    def __init__(
        self, triton: Triton, page: str, blocks: list[Block], patience: float = 120
    ) -> None:
        """patience: the seconds that a command may take."""
        super().__init__(name=page, daemon=True)
        self.triton = triton
        self.page = page
        self.blocks = blocks
        self.patience = patience
        self.outcomes: dict[int, Future[str]] = {block.line: Future() for block in self.blocks}
        self.user = triton.account()
        self.terminals: list[Terminal] = []
        self.busy: list[Terminal] = []  # those in which a command still runs
        # {name of a host in prompts: host}, and {word of the page: the reader's own word}.
        self.hosts = {**PROMPTS, **{node: node for node in triton.nodes}}
        self.words: dict[str, str] = {"username": self.user}

    def run(self) -> None:
        """Type all blocks, and give the outcome of each at once.

        An outcome is how the block differs from the page, or an empty string.
        """
        problem = self.set_stage()
        for block in self.blocks:
            try:
                self.outcomes[block.line].set_result(problem or self.type(block))
            except Exception as error:  # else the blocks that follow would have no outcome
                self.outcomes[block.line].set_exception(error)
        self.close()

    def set_stage(self) -> str:
        """Prepare what the page assumes; return what went wrong, or an empty string."""
        try:
            stages.prepare(self.triton, self.page, self.user)
        except Exception as error:  # it becomes the outcome of each block
            return f"the stage of {self.page} (tools/proof/stages.py) could not be set: {error}"
        return ""

    def close(self) -> None:
        """Close all terminals, and end the jobs of the reader."""
        for terminal in self.terminals + self.busy:
            terminal.close()
        self.user.tries("scancel --me")

    def own(self, text: str) -> str:
        """`text` with the reader's own words, for example the account for `username`."""
        return re.sub(
            "|".join(rf"\b{word}\b" for word in self.words), lambda word: self.words[word[0]], text
        )

    def terminal(self, name: str) -> Terminal:
        """The terminal that was last used on this host, or a new one.

        A new terminal starts on a computer or the login node. Raises LookupError if no command has
        led to this compute node.
        """
        host = self.hosts[self.words.get(name, name)]
        for terminal in reversed(self.terminals):
            if terminal.host == host:
                return terminal
        if host in self.triton.nodes:
            raise LookupError(f"no terminal of the reader is on {name}: the page has not led there")
        self.terminals.append(Terminal(self.triton, host, self.user, self.hosts))
        return self.terminals[-1]

    def save_files(self, block: Block, host: str) -> None:
        """Write the files that the page shows above `block` into the reader's home on `host`."""
        for name, text in block.files.items():
            if host not in self.triton.nodes:
                self.triton.write(host, f"~/{name}", self.own(text), self.user)

    def type(self, block: Block) -> str:
        """Type the commands of `block`; return how they differ from the page, or ""."""
        for command in block.commands:
            if problem := self._command(block, command):
                return problem
        return ""

    def _command(self, block: Block, command: Command) -> str:
        """Type one command of `block`; return as `type`."""
        if command.host not in self.hosts:
            return _report(
                block,
                command,
                f"there is no host {command.host!r}; prompts name {', '.join(self.hosts)}",
            )
        try:
            terminal = self.terminal(command.host)
        except LookupError as error:
            return _report(block, command, str(error))
        self.save_files(block, terminal.host)
        if terminal.folder != self.own(command.folder):
            return _report(
                block,
                command,
                f"the prompt shows the folder {self.own(command.folder)}, but the "
                f"terminal is in {terminal.folder}",
            )
        return self._type(terminal, block, command) if command.text else ""

    def _type(self, terminal: Terminal, block: Block, command: Command) -> str:
        """Type `command` where its prompt says; return as `type`."""
        host_before = terminal.host
        shown = [self.own(line) for line in command.shown]
        shows_text = any(line.strip(". ") for line in shown)

        def enough(lines: list[str]) -> bool:
            return pages.matches(shown, lines)

        # It prints nothing while it waits for the job, and comes back when the job has ended.
        waits = command.text.startswith("sbatch --wait ")
        # A new window begins in the home directory: nothing else can be typed in one.
        folders = [
            later.folder
            for later in block.commands
            if later.host == command.host and later.line > command.line
        ]
        may_go_on = shows_text and not waits and folders[:1] in ([], ["~"])
        try:
            printed, status = terminal.type(
                self.own(command.text), self.patience, enough if may_go_on else None
            )
        except GoesOn:
            # The command goes on in its window; the next commands are typed in another one.
            self.terminals.remove(terminal)
            self.busy.append(terminal)
            return ""
        except Stuck as stuck:
            self.terminals.remove(terminal)
            terminal.close()
            return _report(
                block,
                command,
                f"the prompt did not come back in {self.patience} seconds",
                str(stuck).splitlines(),
            )
        if terminal.host in self.triton.nodes:
            # The first node stands in the page; Slurm may have chosen another one.
            self.words[min(self.triton.nodes)] = terminal.host
        if terminal.host != host_before and not shown:
            return ""  # a shell on another host, whose greeting is no part of the page
        if not pages.matches(shown, printed):
            return _report(block, command, "it printed something else than the page shows", printed)
        if status and not shows_text:
            return _report(
                block,
                command,
                f"it ended with status {status}, and the page shows no error",
                printed,
            )
        return ""


def _report(block: Block, command: Command, what: str, printed: Sequence[str] | None = None) -> str:
    """A report: the place, the problem, what was typed, what the page shows, what was printed."""
    lines = [
        f"{block.page}:{command.line}: {what}",
        f"  typed     username@{command.host}:{command.folder}$ {command.text}",
    ]
    lines += [f"  the page  {line}" for line in command.shown] or ["  the page  (shows no output)"]
    if printed is not None:
        lines += [f"  printed   {line}" for line in printed[-40:]] or ["  printed   (nothing)"]
        lines += [
            f"  words of  {place}"
            for place in _shown_with(block, _words(printed) - _words(command.shown))
        ]
    return "\n".join(lines)


def _words(lines: Sequence[str]) -> set[str]:
    return set(re.findall(r"\w{3,}", "\n".join(lines)))


def _shown_with(block: Block, words: set[str]) -> Iterator[str]:
    """file:line of the line with the most of `words`, for each file shown above the block."""
    for file in pages.shown_files():
        if Path(file).name in block.files and file.startswith(f"{Path(block.page).parent}/"):
            shared = [
                len(_words([line]) & words) for line in block.files[Path(file).name].splitlines()
            ]
            if any(shared):
                yield f"{file}:{shared.index(max(shared)) + 1}"
