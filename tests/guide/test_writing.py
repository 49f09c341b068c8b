"""Authors get what the page How to write here promises: a template that passes, a server that shows
changes, and a check of one page.
"""

import http.client
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from _ext.facts import substitute
from tools import pages
from tools.files import ROOT
from tools.proof.reader import Reader

TEMPLATE = (ROOT / "about/page-template.rst").read_text(encoding="utf-8")
PAGE = substitute((ROOT / "about/how-to-write.rst").read_text(encoding="utf-8"), pages.facts())[0]
COMMANDS = [
    line.strip()
    for block in re.findall(r"^\.\. code-block:: bash\n\n((?:   .*\n)+)", PAGE, re.MULTILINE)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of the guide, made with the page's first command, with the template added as the page
    says.
    """
    folder = tmp_path_factory.mktemp("writer") / "guide"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, names.split("\0")):  # files that are not committed yet count too.
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    for setting in ("user.name=Writer", "user.email=writer@example.org"):
        subprocess.run(["git", "config", *setting.split("=")], cwd=folder, check=True)
    (folder / "triton/tut/my-page.rst").write_text(TEMPLATE, encoding="utf-8")
    menu = folder / "index.rst"
    menu.write_text(
        menu.read_text(encoding="utf-8").replace(
            "   triton/tut/storage\n", "   triton/tut/storage\n   triton/tut/my-page\n"
        ),
        encoding="utf-8",
    )
    return folder


@pytest.mark.claims(
    "Change a page, save it, and the browser shows it",
    "Save it beside its relatives, in ``triton/apps``, ``triton/tut`` or ``scicomp``, "
    "and add it to a menu: a ``toctree``, in ``index.rst`` for example.",
)
def test_the_server_shows_the_new_page_and_then_a_change_of_it(clone):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tools.serve", str(port)],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:

        def shows(text, seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end and server.poll() is None:
                try:
                    if (
                        text
                        in urllib.request.urlopen(
                            f"http://127.0.0.1:{port}/triton/tut/my-page.html"
                        )
                        .read()
                        .decode()
                    ):
                        return True
                except (
                    OSError,
                    http.client.HTTPException,
                    # The page does not exist yet, or is being written.
                ):
                    pass
                time.sleep(0.1)
            return False

        assert shows("My page", 120)
        page = clone / "triton/tut/my-page.rst"
        for _ in range(20):  # the server may begin to watch after its first answer
            page.write_text(
                TEMPLATE.replace("Write the command first.", "Begin with the command."),
                encoding="utf-8",
            )
            if shows("Begin with the command.", 3):
                break
        else:
            pytest.fail("the change is not shown")
    finally:
        server.send_signal(signal.SIGINT)
        output = server.communicate(timeout=30)[0]
    assert "WARNING" not in output and re.search(r"Built in [\d.]+ s: my-page.rst", output), output


def test_the_commands_of_the_template_run_as_it_shows(triton):
    reader = Reader(
        triton, "template.rst", pages.blocks("template.rst", substitute(TEMPLATE, pages.facts())[0])
    )
    reader.start()
    outcomes = [outcome.result(timeout=120) for outcome in reader.outcomes.values()]
    assert outcomes == [""], outcomes


@pytest.mark.claims("Open http://localhost:8000.")
def test_the_commands_of_the_page_are_real(clone):
    assert "tools.serve $(or $(PORT),8000)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert COMMANDS[:3] == [
        f"git clone {pages.facts()['site']['repository']} guide",
        "cd guide",
        "make serve",
    ]
    for command in COMMANDS[3:]:
        if command.startswith("git push"):
            command = command.replace("git push", "git push --dry-run --quiet")
        if command.startswith("make"):
            command = command.replace("make", "make --dry-run")
        completed = subprocess.run(command, shell=True, cwd=clone, capture_output=True, text=True)
        assert completed.returncode == 0, f"{command}\n{completed.stdout}{completed.stderr}"


def test_check_without_a_page_says_what_to_name():
    completed = subprocess.run(
        ["make", "--silent", "check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (
        completed.returncode == 2
        and "Which page? make check PAGE=triton/tut/storage.rst" in completed.stderr
    )


@pytest.mark.parametrize(
    "page, message",
    [
        ("triton/tut/nothing.rst", "There is no page triton/tut/nothing.rst"),
        ("notebooks/05-git.md", "make notebooks NB=05-git"),
    ],
)
def test_a_page_that_cannot_be_checked_is_not_called_good(page, message):
    completed = subprocess.run(
        ["make", "--silent", "check", f"PAGE={page}"], cwd=ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 2 and message in completed.stderr
