"""A person at a terminal of the small Triton, who types commands and answers questions."""

import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Mapping

import pexpect
from pexpect import fdpexpect

from tools.cluster.small_triton import Triton

COLUMNS = 400  # so wide that no shell breaks a command over two lines
QUIET = 15  # after so many seconds without output, a command that has printed enough is left alone
PASSPHRASE = "correct horse battery staple"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x07")


class GoesOn(Exception):
    """The command runs on after the expected output; the argument is its output."""


class Stuck(Exception):
    """The prompt did not come back in time; the argument is the output until then."""


class Terminal:
    """A login shell of `user` on `host`, with a screen of its own."""

    def __init__(self, triton: Triton, host: str, user: str, names: Mapping[str, str]) -> None:
        """Wait for the first prompt. Raises Stuck if none comes.

        names: {name of a host in prompts: host}.
        """
        self.user = user
        self.names = names
        self.host = host
        self.folder = ""
        self.prompt = re.compile(
            r"(?:^|[\r\n]|\^C)(?:\x1b\[[0-9;?]*[A-Za-z])*"
            rf"{user}@(?P<host>{'|'.join(names)}):(?P<folder>[^\r\n$]*)\$ $"
        )
        self.questions = [
            (re.compile(r"\(yes/no/\[fingerprint\]\)\? $"), "yes"),
            (re.compile(r"[Ee]nter[^\r\n]* passphrase[^\r\n]*: $"), PASSPHRASE),
            (re.compile(r"[Pp]assword: $"), triton.password(user)),
        ]
        ours, theirs = os.openpty()  # the two ends of a terminal
        termios.tcsetwinsize(theirs, (50, COLUMNS))
        command = ["setsid", "--ctty", "--wait", *triton.command(host, (), user, terminal="dumb")]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=_heed_signals
        )
        os.close(theirs)
        self.screen = fdpexpect.fdspawn(ours, encoding="utf-8", codec_errors="replace")
        self.screen.delaybeforesend = None
        try:
            self._wait(30)
            # No pager, since nobody presses the space bar. A pipeline fails if any part of it does.
            self.type(" export LMOD_PAGER=none PAGER=cat GIT_PAGER=cat; set -o pipefail")
        except Stuck:
            self.close()
            raise

    def _wait(self, seconds: float, enough: Callable[[str], object] | None = None) -> str:
        """Wait for a prompt and answer questions; return the output without questions and answers.

        Raises GoesOn if nothing is printed for QUIET seconds, and `enough` is true of the output.
        Raises Stuck if no prompt comes in so many seconds.
        """
        printed = ""
        patterns = [self.prompt, *(question for question, _ in self.questions)]
        until = time.monotonic() + seconds
        while True:
            left = max(0.1, until - time.monotonic())
            try:
                index = self.screen.expect(patterns, timeout=min(left, QUIET) if enough else left)
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                so_far = clean(
                    printed + (self.screen.before if isinstance(self.screen.before, str) else "")
                )
                if enough and enough(so_far):
                    raise GoesOn(so_far) from None
                if isinstance(error, pexpect.EOF) or time.monotonic() >= until:
                    raise Stuck(so_far) from None
                continue
            if index == 0:
                self.host = self.names[self.screen.match["host"]]
                self.folder = self.screen.match["folder"]
                return clean(printed + self.screen.before)
            printed += self.screen.before.rpartition("\n")[0] + "\n"
            self.screen.sendline(self.questions[index - 1][1])
            self.screen.expect("\n", timeout=5)

    def type(
        self,
        command: str,
        seconds: float = 120,
        enough: Callable[[list[str]], object] | None = None,
    ) -> tuple[list[str], int | None]:
        """Type `command`; return (its lines of output, its exit status).

        The status is None if the command ended on another host. Raises Stuck if no prompt comes in
        so many seconds, or GoesOn if none comes but `enough` is true of the lines.
        """
        host = self.host
        self.screen.sendline(command)
        printed = self._wait(
            seconds, (lambda text: enough(_without_echo(text, command))) if enough else None
        )
        lines = _without_echo(printed, command)
        if self.host != host:
            return lines, None
        self.screen.sendline(' (s=$?; echo "status=$s"; exit $s)')
        answer = self._wait(30)
        status = re.search(r"^status=(\d+)$", answer, re.MULTILINE)
        if not status:
            raise Stuck(answer)
        return lines, int(status[1])

    def hand_over(self) -> None:
        """Connect this process's own terminal with this one, until the shell ends."""
        here = sys.stdin.fileno()
        there = self.screen.child_fd
        self.type(f" export TERM={shlex.quote(os.environ.get('TERM', 'dumb'))}")
        before = termios.tcgetattr(here)

        def resize(*_: object) -> None:
            termios.tcsetwinsize(there, termios.tcgetwinsize(here))

        resize()
        signal.signal(signal.SIGWINCH, resize)
        tty.setraw(here)
        try:
            os.write(there, b"\n")  # the shell answers with a prompt
            while True:
                ready = select.select([here, there], [], [], 0.2)[0]
                if not ready and self.process.poll() is not None:
                    break
                for source, target in ((there, sys.stdout.fileno()), (here, there)):
                    if source in ready:
                        if not (data := os.read(source, 65536)):
                            return
                        os.write(target, data)
        except OSError:  # one of the two terminals is closed
            pass
        finally:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            with contextlib.suppress(termios.error):  # the window is closed
                termios.tcsetattr(here, termios.TCSADRAIN, before)

    def close(self) -> None:
        """End the shell, and the programs in it."""
        self.screen.close()  # sends SIGHUP, as closing a window does
        self.process.kill()
        self.process.wait()


def _heed_signals() -> None:
    """Let a closed window and Ctrl-C end the programs in the terminal.

    If this process was started with `nohup`, or with `&` in a script, it ignores their signals, and
    its children would too.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def clean(text: str) -> str:
    """The text that a person sees of what a program sent to the terminal."""
    text = CONTROL.sub("", text).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _without_echo(printed: str, command: str) -> list[str]:
    """The lines below the typed command, without empty lines at the end."""
    lines = printed.split("\n")
    if lines and lines[0].strip() == command.strip():
        lines = lines[1:]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines
