"""`make stage` gives a terminal on the stage of a page, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import termios

import psutil
import pytest
from pexpect import fdpexpect

from tools import pages
from tools.cluster import cluster
from tools.files import ROOT
from tools.proof import stage

PAGE = "triton/apps/jupyter/git.rst"
FIRST, SECOND = [block.line for block in pages.blocks(PAGE)][:2]


@pytest.fixture
def stand(tmp_path):
    """stand(*words) starts the stage of PAGE in a terminal of its own: (screen, process).

    Afterwards none of its processes runs.
    """
    if why := cluster.obstacle():
        pytest.skip(why)
    begun = []

    def begin(*words):
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (50, 200))
        command = [
            "setsid",
            "--ctty",
            "--wait",
            sys.executable,
            "-m",
            "tools.proof.stage",
            *words,
            PAGE,
        ]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "dumb"},
        )
        os.close(theirs)
        screen = fdpexpect.fdspawn(ours, encoding="utf-8", timeout=120)
        begun.append((screen, process))
        return screen, process

    yield begin
    for screen, process in begun:
        screen.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def family(process, user):
    """The processes of the stage, and of its cluster."""
    processes = psutil.Process(process.pid).children(recursive=True)
    assert [one for one in processes if one.name() == "slurmctld"], (
        f"a cluster runs, with {user}'s shell"
    )
    return processes


@pytest.mark.claims(
    "Without ``BLOCK`` you are before the first one. The cluster ends with ``exit``."
)
def test_the_state_that_the_page_needs_is_there(stand, tmp_path):
    screen, process = stand()
    screen.expect(r"username is (student\d+):")
    user = screen.match[1]
    screen.expect(re.escape(f"{user}@") + r"[\w-]+:~\$ $")
    screen.send(
        "git -C analysis status --short; stty size; squeue --me --noheader; echo on $HOSTNAME\n"
    )
    screen.expect(r" M analysis\.ipynb\r\n50 200\r\non triton")
    running = family(process, user)
    screen.send("exit\n")
    assert process.wait(timeout=60) == 0
    assert psutil.wait_procs(running, timeout=10)[1] == [] and list(tmp_path.iterdir()) == []


@pytest.mark.claims(
    "types all blocks before the one at line 121, and gives you the reader's terminal."
)
def test_a_stage_types_the_blocks_before_and_ends_cleanly(stand, tmp_path):
    """The stage types all blocks before the chosen one. Closing the window ends the cluster."""
    screen, process = stand("--block", str(SECOND + 2))
    screen.expect(re.escape(f"{PAGE}:{SECOND}, and username is ") + r"(student\d+):")
    user = screen.match[1]
    screen.expect(re.escape(f"{user}@") + r"[\w-]+:~/analysis\$ $")
    screen.send("nbdime-git status; echo $((6 * 7))\n")
    screen.expect(r"nbdime-git is enabled for this repository [^\0]*\r\n42\r\n")
    running = family(process, user)
    screen.close()
    assert process.wait(timeout=60)
    assert psutil.wait_procs(running, timeout=30)[1] == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("page", "line", "message"),
    [
        ("", None, "Which page?"),
        (
            "triton/tut/nothing.rst",
            None,
            "There is no triton/tut/nothing.rst here: make stage PAGE=triton/tut/storage.rst",
        ),
        ("notebooks/05-git.md", None, "There is no notebooks/05-git.md here"),
        (
            PAGE,
            "1",
            f"{PAGE} has no typed block at line 1; they begin at lines {FIRST}, {SECOND}, ",
        ),
        (PAGE, "first", "has no typed block at line first"),
    ],
)
def test_a_wrong_page_or_block_is_one_sentence(page, line, message, capsys):
    assert stage.main([*(["--block", line] if line else []), page]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and shown.out == ""


def test_each_line_of_a_block_names_it():
    first, second = pages.blocks(PAGE)[:2]
    for line in (
        second.line,
        second.commands[0].line,
        second.commands[-1].line + len(second.commands[-1].shown),
    ):
        assert stage.choose(PAGE, str(line)) == ([first], second)
    assert stage.choose(PAGE, None) == ([], first)
