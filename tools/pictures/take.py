"""Make the guide's pictures anew, from real runs on the small Triton: `make pictures`.

Each picture has a function that takes the steps it shows; tests/site/test_pictures.py calls the
same function.
"""

import re
import string
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import pexpect
from playwright.sync_api import Error, sync_playwright

from tools.browser import CHROMIUM
from tools.cluster import cluster
from tools.cluster.jupyter_server import let_in
from tools.cluster.small_triton import PROMPTS, Triton, bring_up
from tools.cluster.terminal import Stuck, Terminal, clean
from tools.files import ROOT, write_whole
from tools.pictures import tour

LOGIN = cluster.facts().hosts.login
SECRET = re.compile(r"(?<=token=)\w+|\b[0-9a-f]{16}\b")  # the token and the path of a server
KEY = 0.06  # seconds between two keys
READ = 2  # seconds before the next command, in which a person reads
LONGEST = 2  # the picture shortens longer waits to so many seconds
# It plays at the address NAME.svg#play: an animation of no length hides each piece of text until
# its delay is over. Elsewhere the whole text stands there.
FRAME = Path(__file__).with_name("recording.svg")


Row = list[tuple[float, str]]  # (seconds after the beginning, text that came then) of a screen row


class Failed(Exception):
    """A step of a picture has failed; the argument says which, and what the terminal shows."""


# ---------------------------------------------------------------- recordings of a terminal


class Recording:
    """The output of a terminal, with the time of each character. pexpect writes into it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.times = [time.monotonic()] * len(text)

    def write(self, text: str) -> None:
        """Add `text`, which the terminal has just printed."""
        self.text += text
        self.times += [time.monotonic()] * len(text)

    def flush(self) -> None:
        """Do nothing; pexpect calls it."""

    def rows(self) -> list[Row]:
        """The screen at the end, row by row, without secrets.

        Raises Failed if a program has overwritten a line.
        """
        text = self.text
        times = list(self.times)
        for secret in reversed(list(SECRET.finditer(text))):
            text = text[: secret.start()] + "..." + text[secret.end() :]
            times[secret.start() : secret.end()] = [times[secret.start()]] * 3
        now = 0.0
        clock = []
        for before, after in pairwise([times[0], *times]):
            now += min(after - before, LONGEST)
            clock.append(round(now * 20) / 20)
        rows: list[Row] = []
        for index, moment in enumerate(clock):
            if clock[index + 1 : index + 2] == [moment]:
                continue
            for number, row in enumerate(clean(text[: index + 1]).split("\n")):
                if number == len(rows):
                    rows.append([])
                shown = "".join(piece for _, piece in rows[number])
                if not row.startswith(shown):
                    raise Failed(
                        "a line is printed over, which the picture cannot show: "
                        f"{shown!r}, then {row!r}"
                    )
                if row != shown:
                    rows[number].append((moment, row[len(shown) :]))
        return rows


class Window(Terminal):
    """A terminal that is recorded. `pace` 1 is the speed of a person, 0 has no pauses."""

    def __init__(self, triton: Triton, host: str, user: str, pace: float) -> None:
        super().__init__(triton, host, user, PROMPTS)
        self.triton = triton
        self.pace = pace
        self.screen.logfile_read = self.recording = Recording(clean(self.screen.after).lstrip("\n"))

    def keys(self, command: str) -> None:
        """Type `command`, and Enter."""
        time.sleep(READ * self.pace)
        for key in command + "\n":
            self.screen.send(key)
            self.screen.expect_exact("\n" if key == "\n" else key, timeout=60)
            time.sleep(KEY * self.pace)

    def enter(self, command: str, host: str) -> None:
        """Type `command` and wait for the prompt of `host`.

        Raises Failed if another host's prompt comes, or if the command failed.
        """
        self.keys(command)
        host_before = self.host
        printed = self._wait(60)
        self.screen.logfile_read = None
        status = self.type(" (exit $?)")[1] if self.host == host_before else 0
        self.screen.logfile_read = self.recording
        if (self.host, status) != (host, 0):
            raise Failed(
                f"{command} ends on {self.host} with exit status {status}, after\n{printed}"
            )


def svg(recording: Recording) -> str:
    """The recording as the text of an SVG file; in NAME.svg#play each piece of text appears at its
    time.
    """
    rows = recording.rows()
    wide = max(len("".join(text for _, text in row)) for row in rows)
    lines = []
    for number, row in enumerate(rows):
        if row:
            pieces = "".join(
                f'<tspan style="animation-delay:{moment:g}s">{escape(text)}</tspan>'
                if moment
                else escape(text)
                for moment, text in row
            )
            typed = (
                ' class="typed"'
                if re.match(r"\w+@[\w-]+:[^$]*\$ ", "".join(text for _, text in row))
                else ""
            )
            lines.append(f'<text x="16" y="{30 + 18 * number}"{typed}>{pieces}</text>')
    frame = string.Template(FRAME.read_text(encoding="utf-8"))
    return frame.substitute(
        width=32 + round(wide * 7.83), height=26 + 18 * len(rows), lines="\n".join(lines)
    )


# ---------------------------------------------------------------- the steps


def sjupyter(triton: Triton, user: str, pace: float = 0) -> Recording:
    """A recording: a reader starts a server, loses the connection, finds the server and stops it.

    The reader works from the laptop, and the server first waits in the queue. pace: see Window.
    Raises Failed if a step does not work.
    """
    let_in(triton, user, ["laptop"])
    triton.run("login", "touch .hushlogin", user)
    window = Window(triton, "laptop", user, pace)
    others = triton.busy()
    try:
        for step in (
            connect,
            lambda window: start(window, others),
            break_the_connection,
            connect,
            find,
            stop,
        ):
            step(window)
        return window.recording
    except (Stuck, pexpect.TIMEOUT, pexpect.EOF) as error:
        raise Failed(f"the terminal waits, after\n{clean(window.recording.text)}") from error
    finally:
        window.close()
        triton.run("login", f"scancel {others}; scancel --user={user} --name=sjupyter")


def connect(window: Window) -> None:
    """Log in from the laptop."""
    window.enter(f"ssh {LOGIN}", "login")


def start(window: Window, others: str) -> None:
    """Start a server; end the job `others`, for which it waits."""
    window.keys("sjupyter -t 02:00:00 --mem=1G")
    window.screen.expect(
        r"\((Resources|Priority)\).*\d{4}-\d\d-\d\dT", timeout=60
    )  # why it waits, and its latest start
    window.triton.run("login", f"scancel {others}")
    window.screen.expect(r"localhost:\d+/\w+/lab\?token=\w+\r\n", timeout=60)


def break_the_connection(window: Window) -> None:
    """Lose the connection to the login node."""
    window.screen.expect(pexpect.TIMEOUT, timeout=max(0.5, READ * window.pace))  # record the rest
    window.screen.send("~.")  # at the beginning of a line, this ends ssh at once
    window._wait(20)
    if window.host != "laptop":
        raise Failed("ssh goes on after ~.")


def find(window: Window) -> None:
    """Look for the server."""
    window.enter("sjupyter --list", "login")


def stop(window: Window) -> None:
    """Stop the server."""
    window.enter("sjupyter --stop", "login")


PICTURES: dict[str, Callable[..., Recording]] = {"images/sjupyter.svg": sjupyter}


def keep(name: str, content: bytes) -> None:
    """Write `content` to the file `name` below the root folder, whole or not at all."""
    (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
    write_whole(ROOT / name, content)
    print(f"{name}: {len(content) / 1000:.0f} kB")


def main() -> None:
    """Make all pictures. Raises SystemExit, with a sentence, if one cannot be made."""
    if why := cluster.obstacle():
        sys.exit(f"The pictures are made on the small Triton, which cannot run here: {why}")
    if not CHROMIUM:
        sys.exit("The screenshots need Chromium: make system says how to get it")
    with tempfile.TemporaryDirectory() as folder:
        triton, end = bring_up(Path(folder) / "state")
        try:
            for name, steps in PICTURES.items():
                keep(name, svg(steps(triton, "username", pace=1)).encode())
            name = "images/jupyter_demo"
            with sync_playwright() as playwright, tour.chromium(triton, playwright) as chromium:
                views = tour.go(triton, triton.account(), chromium)
            for name, content in tour.files(views).items():
                keep(f"images/{name}", content)
        except (Failed, AssertionError, Error) as error:
            sys.exit(f"{name} is not made anew: {error}")
        finally:
            end()


if __name__ == "__main__":
    main()
