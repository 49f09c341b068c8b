"""A reader at a browser: JupyterLab, and the pages of the hub of the small Triton."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.cluster import cluster, jupyter_server
from tools.cluster.small_triton import PATIENCE, Triton

if TYPE_CHECKING:  # playwright takes half a second to import, and most tests open no browser
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

SCRIPTS = cluster.HERE / "scripts"
FACTS = cluster.facts()
HUB = f"https://{FACTS.hosts.hub}"
SERVERS = f"https://{FACTS.hosts.servers}"
TINY = "Tiny"  # tools/cluster/profiles.toml
LOGS: str = FACTS.logs.pattern
PROFILES: list[str] = [profile.name for profile in FACTS.profiles]
FRONT = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # the notebook that others are open behind
PENDING = re.compile(r"Pending in queue\.\.\. (Resources|Priority)")


# ---------------------------------------------------------------- JupyterLab


def notebook(sources: Iterable[str], kernel: str = "python3", language: str = "python") -> str:
    """The text of a notebook with a code cell for each source, without outputs."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell{number}",
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(sources)
    ]
    metadata = {"kernelspec": {"display_name": kernel, "language": language, "name": kernel}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def new_window(chromium: Browser, **options: Any) -> BrowserContext:
    """A new window of the browser, with its own cookies and storage.

    options: of playwright's new_context.
    """
    options = {"viewport": {"width": 1280, "height": 800}} | options
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE * 1000)
    return context


class Reader:
    """A person with an account, a laptop with keys, and the guide's proxy file in the browser."""

    def __init__(self, triton: Triton, user: str, chromium: Browser) -> None:
        self.triton = triton
        self.user = triton.account(user)
        self.chromium = chromium
        self.contexts: list[BrowserContext] = []

    def run(self, command: cluster.Command, **options: Any) -> str:
        """The output of `command` on the login node; options: of Triton.run."""
        return self.user.run(command, **options)

    def own(self, command: str) -> str:
        """The command as this reader types it, with the reader's name for `username`."""
        return re.sub(r"\busername\b", self.user, command)

    def write(
        self, name: str, sources: Iterable[str], kernel: str = "python3", language: str = "python"
    ) -> None:
        """Write a notebook with these cells into the reader's home."""
        self.user.write(f"~/{name}", notebook(sources, kernel, language))

    def page(self) -> Page:
        """A page in a window of its own, which `close` closes."""
        self.contexts.append(new_window(self.chromium))
        return self.contexts[-1].new_page()

    def fails(self, url: str) -> str:
        """The error that the browser shows for `url`; an empty string if the page opens."""
        page = self.page()
        try:
            page.goto(url, timeout=20000, wait_until="commit")
            return ""
        except Exception as error:  # playwright's error, with the browser's message in it
            return str(error).splitlines()[0]
        finally:
            page.context.close()
            self.contexts.remove(page.context)

    def lab(
        self, server: jupyter_server.Server, name: str | None = None, base: str | None = None
    ) -> Lab:
        """JupyterLab, with the notebook `name` open if it is given.

        base: the server's address in the browser, if it differs from that on the login node.
        """
        lab = Lab(self.page())
        lab.page.goto(
            f"{base or server.url}/lab{'/tree/' + name if name else ''}?token={server.token}&reset",
            wait_until="load",
        )
        if name:
            lab.cell(0).wait_for()
        return lab

    def close(self) -> None:
        """Close all windows."""
        while self.contexts:
            self.contexts.pop().close()


class Window:
    """A window in which a reader clicks.

    `looks` is called with the target before each click, to take pictures.
    """

    looks: Callable[[Locator], object] = staticmethod(lambda target: None)

    def click(self, target: Locator, times: int = 1) -> None:
        """Click as soon as the target is there."""
        target.wait_for()
        self.looks(target)
        target.click(click_count=times)


class Lab(Window):
    """A window with JupyterLab."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def cell(self, number: int) -> Locator:
        """The code cell with this number in the notebook in front; the first is 0."""
        return self.page.locator(f"{FRONT} .jp-CodeCell").nth(number)

    def shown(self) -> bool:
        """Whether the page shows JupyterLab, and no dialog."""
        return bool(
            self.page.locator("#jp-main-statusbar").count()
            and not self.page.locator(".jp-Dialog").count()
        )

    def open(self, path: str) -> None:
        """Open a file in a tab of this page, in front of the others.

        If it is a notebook, wait until its kernel is idle, or a dialog asks something.
        """
        self.menu("File", "Open from Path…")
        self.page.locator(".jp-Dialog input").fill(path)
        self.page.keyboard.press("Enter")
        name = re.compile(rf"^{re.escape(path.rpartition('/')[2])}$")
        tab = "#jp-main-dock-panel .lm-TabBar-tab.lm-mod-current .lm-TabBar-tabLabel"
        self.page.locator(tab, has_text=name).wait_for()
        if path.endswith(".ipynb"):
            idle = self.page.locator(f"{FRONT} .jp-Notebook-ExecutionIndicator[data-status=idle]")
            idle.or_(self.page.locator(".jp-Dialog")).first.wait_for()

    def idle(self) -> None:
        """Wait until the kernel is connected and idle."""
        self.page.locator("#jp-main-statusbar", has_text=re.compile(r"\| Idle")).wait_for()

    def run_cell(self, number: int = 0) -> None:
        """Run a cell with Shift-Enter; press it again if the kernel was not ready.

        A cell runs when its number changes.

        Raises AssertionError if the cell does not run.
        """
        prompt = self.cell(number).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        self.idle()
        for _ in range(20):
            self.cell(number).locator(".cm-content").click()
            self.page.keyboard.press("Shift+Enter")
            for _ in range(30):
                if prompt.inner_text() != before:
                    return
                self.page.wait_for_timeout(100)
        raise AssertionError(f"cell {number} does not run")

    def output(self, number: int = 0) -> str:
        """The first output of the cell, after it has run."""
        output = self.cell(number).locator(".jp-OutputArea-output").first
        output.wait_for()
        self.cell(number).locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
        return output.inner_text()

    def dialog(self, seconds: float = PATIENCE, about: str = "") -> str:
        """The text of a dialog with the word `about` that opens within so many seconds.

        Other dialogs are closed, since they delay it.
        """
        dialog = self.page.locator(".jp-Dialog").first
        until = time.monotonic() + seconds
        while True:
            dialog.wait_for(timeout=max(1, until - time.monotonic()) * 1000)
            text = dialog.inner_text()
            if about in text:
                return text
            dialog.locator(".jp-Dialog-footer button").last.click()
            self.page.wait_for_timeout(200)

    def states(self, last: str, seconds: int = PATIENCE) -> str:
        """What the window shows of the kernel until its state is `last`, a line for each change.

        That is the name of the kernel, the status bar, and dialogs.
        """
        states: list[str] = []
        more = 5  # the texts change a moment after the state
        for _ in range(seconds * 5):
            texts = [
                self.page.locator(where).all_inner_texts()
                for where in (".jp-Toolbar-kernelName", "#jp-main-statusbar", ".jp-Dialog")
            ]
            now = " ".join(" ".join(text) for text in texts)
            if now not in states:
                states.append(now)
            if self.page.locator(f".jp-Notebook-ExecutionIndicator[data-status={last}]").count():
                more -= 1
            if not more:
                break
            self.page.wait_for_timeout(200)
        return "\n".join(states)

    def press(self, button: str) -> None:
        """Press a button of the dialog, and wait until it has closed; another one may come then."""
        dialog = self.page.locator(".jp-Dialog").first.element_handle()
        self.page.locator(
            ".jp-Dialog button", has_text=re.compile(rf"^\s*{button}\s*$")
        ).first.click()
        dialog.wait_for_element_state("hidden")

    def save(self) -> None:
        """Save the notebook, with the keyboard."""
        self.page.keyboard.press("Control+s")

    def close_all(self) -> None:
        """Close all tabs without saving."""
        self.menu("File", "Close All Tabs")
        launcher = self.page.locator(".jp-LauncherCard:visible").first
        discard = self.page.locator(".jp-Dialog button", has_text=re.compile("^Discard$"))
        while True:
            launcher.or_(discard).first.wait_for()
            if not discard.count():
                return
            self.press("Discard")

    def menu(self, *names: str) -> None:
        """Choose an entry of the menus: menu("File", "Log Out")."""
        first, *rest = names
        self.click(self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{first}$")))
        for name in rest:
            self.click(
                self.page.locator(
                    ".lm-Menu-itemLabel:visible", has_text=re.compile(f"^{name}$")
                ).first
            )

    def offers(self, *names: str, seconds: float = PATIENCE) -> bool:
        """Whether the menus have this entry within so many seconds: offers("File", "Log Out").

        The menu is opened again and again, since extensions add their entries late.
        """
        until = time.monotonic() + seconds
        while True:
            self.menu(*names[:-1])
            labels = self.page.locator(".lm-Menu-itemLabel:visible")
            labels.first.wait_for()
            entries = labels.all_inner_texts()
            for _ in names[1:]:
                self.page.keyboard.press("Escape")
            if names[-1] in entries or time.monotonic() > until:
                return names[-1] in entries
            self.page.wait_for_timeout(1000)

    def go_into(self, folder: str) -> None:
        """Open a folder in the file browser, and wait until it shows that folder."""
        self.click(
            self.page.locator(".jp-DirListing-itemText", has_text=re.compile(f"^{folder}$")),
            times=2,
        )
        self.page.locator(".jp-BreadCrumbs-item", has_text=folder).wait_for()

    def new_notebook(self, kernel: str) -> None:
        """Make a notebook with the first card of the launcher that names this kernel."""
        self.click(self.page.locator(".jp-LauncherCard", has_text=kernel).first)
        self.idle()

    def write(self, code: str, number: int = 0) -> None:
        """Type `code` into a cell."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.insert_text(code)


# ---------------------------------------------------------------- the hub


def own(user: str) -> str:
    """The origin of the user's servers."""
    return SERVERS.replace("*", user)


# JavaScript that sends one request from a page.
FETCH = (SCRIPTS / "fetch.js").read_text(encoding="utf-8")


@dataclass
class Answer:
    """A server's answer to a browser; the status is 0 if the browser hides the answer."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        """The JSON of the answer. Raises AssertionError if the request failed."""
        assert 0 < self.status < 300, self
        return json.loads(self.text)


class Visit(Window):
    """A reader's window at the hub.

    Each method is a step of the guide; `page` is playwright's.
    """

    def __init__(self, triton: Triton, user: str, chromium: Browser, **options: Any) -> None:
        """options: of new_window."""
        self.triton = triton
        self.user = triton.account(user)
        self.context = new_window(chromium, **options)
        self.page = self.context.new_page()
        self._asking: dict[str, Page] = {}  # {origin: the tab that sends the requests of `ask`}

    @property
    def lab(self) -> Lab:
        """The JupyterLab in this window."""
        lab = Lab(self.page)
        lab.looks = self.looks
        return lab

    def log_in(self, password: str | None = None) -> None:
        """Log in with `password`, or else with the user's own."""
        self.page.goto(HUB)
        self.submit_login(password)

    def submit_login(self, password: str | None = None) -> None:
        """Fill in the form that is open, and send it; see log_in."""
        self.page.get_by_label("Username").fill(self.user)
        self.page.get_by_label("Password").fill(password or self.triton.password(self.user))
        self.click(self.page.get_by_role("button", name="Sign in", exact=True))

    def choose(self, profile: str) -> None:
        """Choose a profile on the start page."""
        self.page.get_by_label(profile, exact=True).check()

    def press_start(self) -> None:
        """Click on Start."""
        self.click(self.page.get_by_role("button", name="Start", exact=True))

    def to_the_control_panel(self) -> None:
        """Open the control panel by JupyterLab's menu; its new tab becomes `page`."""
        with self.context.expect_page() as opened:
            self.lab.menu("File", "Hub Control Panel")
        self.page = opened.value
        self.page.wait_for_load_state("networkidle")  # its buttons need a script

    def stop_my_server(self, button: str = "Stop My Server") -> None:
        """Click on the button, and wait until the server has stopped."""
        self.click(self.page.get_by_role("button", name=button, exact=True))
        self.page.get_by_role("button", name="Start My Server", exact=True).wait_for()

    def said(self) -> str:
        """The text of the page."""
        return " ".join(self.page.locator("body").inner_text().split())

    def waits_for(self, text: str | re.Pattern[str], seconds: float = PATIENCE) -> str:
        """The text of the page, as soon as `text` is in it."""
        self.page.get_by_text(text).first.wait_for(timeout=seconds * 1000)
        return self.said()

    def says_of_the_end(self, seconds: float = PATIENCE) -> str:
        """The text of the hub's page when it says that the server has ended.

        Raises AssertionError if it does not say so within so many seconds.
        """
        until = time.monotonic() + seconds
        self.open()
        while "Your last server" not in self.said():
            assert time.monotonic() < until, self.said()
            self.page.wait_for_timeout(1000)
            self.open()
        return self.said()

    def notebook(self, name: str, *sources: str) -> Lab:
        """Write a notebook with these cells into the user's home, and open it in JupyterLab.

        If the page shows JupyterLab already, it is not loaded again.
        """
        self.user.write(f"~/{name}.ipynb", notebook(sources))
        if self.lab.shown():
            self.lab.open(f"home/{name}.ipynb")
        else:
            self.open(f"/user/{self.user}/lab/tree/home/{name}.ipynb?reset")
        return self.lab

    def arrive(self, seconds: float = PATIENCE) -> tuple[str, float]:
        """Wait for JupyterLab; return (messages about the start, in lines; the seconds it took).

        Raises AssertionError if the start fails.
        """
        began = time.monotonic()
        messages: list[str] = []
        while "/user/" not in self.page.url:
            with contextlib.suppress(Exception):  # the browser leaves the page while it is read
                messages += [
                    text
                    for text in self.page.locator(".progress-log-event").all_text_contents()
                    if text not in messages
                ]
            if (failed := self.page.locator(".bg-danger#progress-bar, .spawn-error-msg")).count():
                raise AssertionError(
                    f"no server after {time.monotonic() - began:.1f} s: {failed and self.said()}"
                )
            assert time.monotonic() - began < seconds, (
                f"no server at {self.page.url}: {self.said()}\n{log(self.triton)[-3000:]}"
            )
            self.page.wait_for_timeout(200)
        self.page.locator(".jp-LauncherCard").first.wait_for()
        return "\n".join(messages), time.monotonic() - began

    def begin(self, profile: str) -> None:
        """Log in, choose a profile, and press Start."""
        self.log_in()
        self.choose(profile)
        self.press_start()

    def start(self, profile: str) -> tuple[str, float]:
        """Log in, choose a profile, press Start, and arrive; return what `arrive` returns."""
        self.begin(profile)
        return self.arrive()

    def open(self, path: str = "/hub/home") -> None:
        """Open a page of the hub, or, if the path is below /user/NAME/, of that user's server."""
        self.page.goto((own(path.split("/")[2]) if path.startswith("/user/") else HUB) + path)

    def page_of(self, origin: str) -> Page:
        """A new tab with an icon from `origin`, from which a script may send any request."""
        page = self.context.new_page()
        page.goto(f"{origin}/hub/static/favicon.ico")
        return page

    def ask(self, method: str, path: str, data: Any = None, base: str | None = None) -> Answer:
        """The answer of the user's server, or of `base`, to a request with this window's login.

        data: sent as JSON, unless it is None.
        """
        base = base or f"/user/{self.user}"
        at_server = base.startswith("/user/")
        origin = own(base.split("/")[2]) if at_server else HUB
        cookies = self.context.cookies(f"{origin}{base if at_server else '/hub'}/")
        token = next(
            (cookie["value"] for cookie in cookies if cookie["name"].endswith("_xsrf")), ""
        )
        if origin not in self._asking:
            self._asking[origin] = self.page_of(origin)
        answer = self._asking[origin].evaluate(
            FETCH, [method, f"{base}{path}", token, None if data is None else json.dumps(data)]
        )
        return Answer(**answer)

    def job(self) -> str:
        """The number of the job of the user's server."""
        return self.user.run("squeue --me --noheader --format=%i").strip()

    def close(self) -> None:
        """Close the window."""
        self.context.close()


class HubServer(jupyter_server.Server):
    """The server that the hub has started for a user, used with a token instead of a browser."""

    def __init__(self, window: Visit, name: str = "") -> None:
        """name: of a named server."""
        self.triton = window.triton
        self.user = window.user
        self.token = window.ask(
            "POST", f"/users/{window.user}/tokens", {"note": "a test"}, base="/hub/api"
        ).json()["token"]
        self._client = None
        self._url = f"{own(window.user)}/user/{window.user}" + (f"/{name}" if name else "")

    def close(self) -> None:
        """End the client of the kernels; the server runs on."""
        self._hang_up()


def running(triton: Triton, options: str = "") -> None:
    """Start the services of the hub, with debug logs; return when the login page answers.

    options: more options of jupyterhub.
    """
    triton.run(
        "hub",
        "hub-services stop 2>/dev/null; hub-services start proxy; "
        f"HUB_OPTIONS='--debug {options}' hub-services start hub",
    )
    answers(triton)


def restart(triton: Triton, options: str = "", verb: str = "kill", meanwhile: str = "true") -> None:
    """End the hub and start it again; return when its login page answers.

    options: more options of jupyterhub. verb: kill, or stop. meanwhile: a command for the hub's
    host, in between.
    """
    start = f"HUB_OPTIONS='--debug {options}' hub-services start hub"
    triton.run("hub", f"hub-services {verb} hub; {meanwhile}; {start}")
    answers(triton)


def as_hub(triton: Triton, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The completed process of a command of the hub's user on the hub's host; options: of
    Triton.run.
    """
    user = "setpriv --reuid jupyterhub --regid jupyterhub --init-groups"
    return triton.run("hub", f"cd /; {user} env HOME=/var/lib/jupyterhub {command}", **options)


def answers(triton: Triton, seconds: int = PATIENCE) -> None:
    """Wait until the login page answers. Raises AssertionError if it does not."""
    look = (
        f"for i in $(seq {seconds * 5}); do curl --silent --fail --output /dev/null "
        f"--max-time 5 {HUB}/hub/login && exit; sleep 0.2; done; exit 1"
    )
    triton.run("hub", look, timeout=seconds + 60)


def log(triton: Triton, name: str = "hub") -> str:
    """The log of the hub, or of the proxy."""
    return triton.run("hub", f"cat /var/log/jupyterhub-{name}.log").stdout


# ---------------------------------------------------------------- many people

# A program for a reader's computer that acts as any number of people at the hub.
PEOPLE = (SCRIPTS / "people.py").read_text(encoding="utf-8")


class Refused(AssertionError):
    """A person's request has failed; `status` is that of the hub's answer, or 0 without one."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class People:
    """Any number of people at a reader's computer; many threads may call `ask` at once."""

    def __init__(self, triton: Triton) -> None:
        self.triton = triton
        self.answers: dict[int, dict[str, Any]] = {}
        self.news = threading.Condition()
        self.count = 0
        self.process = triton.start(
            "laptop", _people(triton, "obey"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            number, answer = json.loads(line)
            with self.news:
                self.answers[number] = answer
                self.news.notify_all()

    def tell(self, user: str, verb: str, *words: Any) -> int:
        """Have the person begin with a task; return its number, for `answer`.

        verb, words: a function of scripts/people.py, and its arguments.
        """
        with self.news:
            self.count += 1
            print(
                json.dumps([self.count, user, self.triton.password(user), verb, *words]),
                file=self.process.stdin,
                flush=True,
            )
            return self.count

    def answer(self, number: int, seconds: float = 150) -> Any:
        """The result of a task. Raises Refused, or AssertionError if none comes in that time."""
        with self.news:
            assert self.news.wait_for(lambda: number in self.answers, seconds), (
                "a person has no answer"
            )
            answer = self.answers.pop(number)
        if "error" in answer:
            raise Refused(answer["status"], answer["error"])
        return answer["said"]

    def ask(self, user: str, verb: str, *words: Any) -> Any:
        """Have the person do a task; return its result. Raises Refused."""
        return self.answer(self.tell(user, verb, *words))

    def close(self) -> None:
        """End the program."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


STAND_IN = f"{FACTS.paths.scratch}/stand-in"
# Options of jupyterhub that start stand-ins in the place of JupyterLab.
WITH_STAND_INS = f"--ProfileSpawner.batchspawner_singleuser_cmd={STAND_IN}/batchspawner-singleuser"


def put_stand_in(triton: Triton) -> None:
    """Install the stand-in for JupyterLab where WITH_STAND_INS expects it."""
    triton.run("login", f"mkdir -p {STAND_IN}; ln -sf /usr/bin/python3 {STAND_IN}/python")
    triton.write(
        "login",
        f"{STAND_IN}/batchspawner-singleuser",
        (SCRIPTS / "stand_in_server.py").read_text(encoding="utf-8"),
        mode="755",
    )


def crowd(
    triton: Triton, users: Sequence[str], profile: str, within: float, look: float = 1
) -> dict[str, dict[str, Any]]:
    """All `users` log in within so many seconds, start servers of `profile` and open them.

    Returns for each user {"seconds", "from_click", "own"}, or {"error"}; see start_and_open in
    scripts/people.py. look: the seconds between two questions whether the server is ready.
    """
    answers: dict[str, dict[str, Any]] = json.loads(
        triton.run(
            "laptop",
            _people(triton, "crowd", profile, str(within), str(look)),
            input=json.dumps({user: triton.password(user) for user in users}),
            timeout=500,
        ).stdout
    )
    return answers


def _people(triton: Triton, *arguments: str) -> list[str]:
    """The command line that runs scripts/people.py on a reader's computer."""
    triton.write("laptop", "/tmp/people.py", PEOPLE)
    return ["/usr/bin/python3", "/tmp/people.py", HUB, SERVERS, *arguments]
