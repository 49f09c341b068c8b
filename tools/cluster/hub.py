"""A reader at a browser: JupyterLab's window, and the pages of the hub of the small Triton."""

import contextlib
import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass

from tools.cluster import cluster, jupyter_server
from tools.cluster.jupyter_server import PATIENCE
from triton.lib import slurm

FACTS = cluster.facts()
HUB = f"https://{FACTS['hosts']['hub']}"
SERVERS = f"https://{FACTS['hosts']['servers']}"
TINY = "Tiny"  # tools/cluster/profiles.toml
LOGS = FACTS["logs"]["pattern"]
PROFILES = [profile["name"] for profile in FACTS["profiles"]]
PENDING = re.compile(r"Pending in queue\.\.\. (Resources|Priority)")


# ---------------------------------------------------------------- JupyterLab


def notebook(cells, kernel="python3", language="python"):
    """The text of a notebook with these cells, none of them run."""
    cells = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell{number}",
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(cells)
    ]
    metadata = {"kernelspec": {"display_name": kernel, "language": language, "name": kernel}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def new_window(chromium, **options):
    """A new window of the browser, with nothing in it of others."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
    context.set_default_timeout(PATIENCE * 1000)
    return context


class Reader:
    """A person with an account, a laptop with keys, and the guide's proxy file in the browser."""

    def __init__(self, triton, user, chromium):
        self.triton, self.user, self.chromium = triton, user, chromium
        self.contexts = []

    def run(self, command, **options):
        return self.triton.run("login", command, self.user, **options).stdout

    def own(self, command):
        return re.sub(r"\busername\b", self.user, command)

    def write(self, name, cells, kernel="python3", language="python"):
        """A notebook with these cells in the reader's home."""
        self.triton.write("login", f"~/{name}", notebook(cells, kernel, language), self.user)

    def page(self):
        self.contexts.append(new_window(self.chromium))
        return self.contexts[-1].new_page()

    def fails(self, url):
        """The error with which the browser opens `url`; an empty string if it opens."""
        page = self.page()
        try:
            page.goto(url, timeout=20000, wait_until="commit")
            return ""
        except Exception as error:  # playwright's, with the browser's own name of the error in it
            return str(error).splitlines()[0]
        finally:
            page.context.close()
            self.contexts.remove(page.context)

    def lab(self, server, name=None, base=None):
        """JupyterLab, with the notebook `name` open if it is given."""
        lab = Lab(self.page())
        lab.page.goto(
            f"{base or server.url}/lab{'/tree/' + name if name else ''}?token={server.token}&reset",
            wait_until="load",
        )
        if name:
            lab.cell(0).wait_for()
        return lab

    def close(self):
        while self.contexts:
            self.contexts.pop().close()


class Window:
    """Where a reader clicks.

    `looks` is called with what will be clicked, before it is: pictures are made then.
    """

    looks = staticmethod(lambda target: None)

    def click(self, target, times=1):
        target.wait_for()
        self.looks(target)
        target.click(click_count=times)


class Lab(Window):
    """A window with JupyterLab."""

    def __init__(self, page):
        self.page = page

    def cell(self, number):
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def idle(self):
        """Wait until the kernel is connected, and has nothing to do."""
        self.page.locator("#jp-main-statusbar", has_text=re.compile(r"\| Idle")).wait_for()

    def run_cell(self, number=0):
        """Put the cursor into the cell and press Shift-Enter; again, if the kernel was not ready
        for it.
        """
        prompt = self.cell(number).locator(".jp-InputPrompt")
        self.idle()
        for _ in range(20):
            self.cell(number).locator(".cm-content").click()
            self.page.keyboard.press("Shift+Enter")
            for _ in range(30):
                if prompt.inner_text().strip(": ") != "[ ]":
                    return
                self.page.wait_for_timeout(100)
        raise AssertionError(f"cell {number} does not run")

    def output(self, number=0):
        """What the cell has printed first, once it has ended."""
        output = self.cell(number).locator(".jp-OutputArea-output").first
        output.wait_for()
        self.cell(number).locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
        return output.inner_text()

    def dialog(self, seconds=PATIENCE, about=""):
        """What the dialog says that comes within so many seconds and has the word `about`; others
        before it are closed, for they hold it up.
        """
        dialog, until = self.page.locator(".jp-Dialog").first, time.monotonic() + seconds
        while True:
            dialog.wait_for(timeout=max(1, until - time.monotonic()) * 1000)
            text = dialog.inner_text()
            if about in text:
                return text
            dialog.locator(".jp-Dialog-footer button").last.click()
            self.page.wait_for_timeout(200)

    def states(self, last, seconds=PATIENCE):
        """What the window says of the notebook's kernel, one state a line, until the state is
        `last`: its name, the status bar, a dialog.
        """
        said, more = [], 5  # the texts come a moment after the state
        for _ in range(seconds * 5):
            texts = [
                self.page.locator(where).all_inner_texts()
                for where in (".jp-Toolbar-kernelName", "#jp-main-statusbar", ".jp-Dialog")
            ]
            now = " ".join(" ".join(text) for text in texts)
            if now not in said:
                said.append(now)
            if self.page.locator(f".jp-Notebook-ExecutionIndicator[data-status={last}]").count():
                more -= 1
            if not more:
                break
            self.page.wait_for_timeout(200)
        return "\n".join(said)

    def press(self, button):
        self.page.locator(
            ".jp-Dialog button", has_text=re.compile(rf"^\s*{button}\s*$")
        ).first.click()
        self.page.locator(".jp-Dialog").wait_for(state="detached")

    def save(self):
        self.page.keyboard.press("Control+s")

    def menu(self, *names):
        """Choose an entry of the menus: menu("File", "Log Out")."""
        first, *rest = names
        self.click(self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{first}$")))
        for name in rest:
            self.click(
                self.page.locator(
                    ".lm-Menu-itemLabel:visible", has_text=re.compile(f"^{name}$")
                ).first
            )

    def offers(self, bar, entry, seconds=PATIENCE):
        """Whether the menu has the entry; it is opened again until it has, for extensions bring
        theirs in their own time.
        """
        until = time.monotonic() + seconds
        while True:
            self.menu(bar)
            entries = self.page.locator(".lm-Menu-itemLabel:visible")
            entries.first.wait_for()
            found = entries.all_inner_texts()
            self.page.keyboard.press("Escape")
            if entry in found or time.monotonic() > until:
                return entry in found
            self.page.wait_for_timeout(1000)

    def go_into(self, folder):
        """Open a folder in the file browser, and wait until it shows another."""
        self.click(
            self.page.locator(".jp-DirListing-itemText", has_text=re.compile(f"^{folder}$")),
            times=2,
        )
        self.page.locator(".jp-BreadCrumbs-item", has_text=folder).wait_for()

    def new_notebook(self, kernel):
        """Make a notebook by the first card of the launcher with the name of a kernel."""
        self.click(self.page.locator(".jp-LauncherCard", has_text=kernel).first)
        self.idle()

    def write(self, code, number=0):
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.insert_text(code)


# ---------------------------------------------------------------- the hub


def own(user):
    """The origin of the user's servers."""
    return SERVERS.replace("*", user)


# The browser does not say what comes from another origin: its answer has the status 0 then.
FETCH = """async ([method, address, token, body]) => {
    try {
        const answer = await fetch(address, {method, body, headers: {"X-XSRFToken": token, "Content-Type": "application/json"}});
        return {status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text()};
    } catch (error) {
        return {status: 0, headers: {}, text: String(error)};
    }
}"""


@dataclass
class Answer:
    status: int
    headers: dict
    text: str

    def json(self):
        assert 0 < self.status < 300, self
        return json.loads(self.text)


class Visit(Window):
    """A reader's window at the hub.

    Each step is what the guide says to do; `page` is playwright's. options: of the window.
    """

    def __init__(self, triton, user, chromium, **options):
        self.triton, self.user = triton, user
        self.context = new_window(chromium, **options)
        self.page = self.context.new_page()

    @property
    def lab(self):
        """The JupyterLab in this window."""
        lab = Lab(self.page)
        lab.looks = self.looks
        return lab

    def log_in(self, password=None):
        self.page.goto(HUB)
        self.page.get_by_label("Username").fill(self.user)
        self.page.get_by_label("Password").fill(password or self.triton.password(self.user))
        self.click(self.page.get_by_role("button", name="Sign in", exact=True))

    def choose(self, profile):
        self.page.get_by_label(profile, exact=True).check()

    def press_start(self):
        self.click(self.page.get_by_role("button", name="Start", exact=True))

    def to_the_control_panel(self):
        """From JupyterLab, by its menu. It opens in a window of its own, which is `page` then."""
        with self.context.expect_page() as opened:
            self.lab.menu("File", "Hub Control Panel")
        self.page = opened.value
        self.page.wait_for_load_state("networkidle")  # its buttons work when the script is there

    def stop_my_server(self, button="Stop My Server"):
        self.click(self.page.get_by_role("button", name=button, exact=True))
        self.page.get_by_role("button", name="Start My Server", exact=True).wait_for()

    def said(self):
        """What the page says."""
        return " ".join(self.page.locator("body").inner_text().split())

    def waits_for(self, text, seconds=PATIENCE):
        """Wait until the page says `text`, a string or a compiled pattern; return all that it says
        then.
        """
        self.page.get_by_text(text).first.wait_for(timeout=seconds * 1000)
        return self.said()

    def says_of_the_end(self, seconds=PATIENCE):
        """What the hub's page says once it knows that the server has ended; it looks now and then."""
        until = time.monotonic() + seconds
        self.open()
        while "Your last server" not in self.said():
            assert time.monotonic() < until, self.said()
            self.page.wait_for_timeout(1000)
            self.open()
        return self.said()

    def arrive(self, seconds=PATIENCE):
        """Wait for JupyterLab; return what the page said of the start, one message a line, and the
        seconds it took.
        """
        began, heard = time.monotonic(), []
        while "/user/" not in self.page.url:
            with contextlib.suppress(Exception):  # the page goes while it is read
                heard += [
                    text
                    for text in self.page.locator(".progress-log-event").all_text_contents()
                    if text not in heard
                ]
            if (failed := self.page.locator(".bg-danger#progress-bar, .spawn-error-msg")).count():
                raise AssertionError(
                    f"no server after {time.monotonic() - began:.1f} s: {failed and self.said()}"
                )
            assert time.monotonic() - began < seconds, (
                f"no server at {self.page.url}: {self.said()}\n{log(self.triton)[-3000:]}"
            )
            self.page.wait_for_timeout(50)
        self.page.locator(".jp-LauncherCard").first.wait_for()
        return "\n".join(heard), time.monotonic() - began

    def start(self, profile):
        """All of it: log in, choose, start, arrive."""
        self.log_in()
        self.choose(profile)
        self.press_start()
        return self.arrive()

    def open(self, path="/hub/home"):
        """Open a page of the hub, or below /user/NAME/ one of a server of that user."""
        self.page.goto((own(path.split("/")[2]) if path.startswith("/user/") else HUB) + path)

    def page_of(self, origin):
        """A new page of this window, of `origin`, that does nothing and forbids nothing: the hub
        gives it at each name.
        """
        page = self.context.new_page()
        page.goto(f"{origin}/hub/static/favicon.ico")
        return page

    def ask(self, method, path, data=None, base=None):
        """What this browser, with the login of this window, gets from the user's server or from
        `base`: an Answer.
        """
        base = base or f"/user/{self.user}"
        at_server = base.startswith("/user/")
        origin = own(base.split("/")[2]) if at_server else HUB
        cookies = self.context.cookies(f"{origin}{base if at_server else '/hub'}/")
        token = next(
            (cookie["value"] for cookie in cookies if cookie["name"].endswith("_xsrf")), ""
        )
        page = self.page_of(origin)
        answer = page.evaluate(
            FETCH, [method, f"{base}{path}", token, None if data is None else json.dumps(data)]
        )
        page.close()
        return Answer(**answer)

    def job(self):
        """The number of the job of the user's server."""
        return self.triton.run(
            "login", "squeue --me --noheader --format=%i", self.user
        ).stdout.strip()

    def close(self):
        self.context.close()


class HubServer(jupyter_server.Server):
    """The server that the hub has started for a user, reached with a token of that user, as
    programs do.
    """

    def __init__(self, window, name=""):
        self.triton, self.user, self._client = window.triton, window.user, None
        self.token = window.ask(
            "POST", f"/users/{window.user}/tokens", {"note": "a test"}, base="/hub/api"
        ).json()["token"]
        self._url = f"{own(window.user)}/user/{window.user}" + (f"/{name}" if name else "")

    def close(self):
        if self._client:
            self._client.stdin.close()
            self._client.wait(timeout=30)
            self._client.stdout.close()


def running(triton, options=""):
    """Start the services of the hub, the hub with these options and so that it logs all it can;
    return when the page of the login answers.
    """
    triton.run(
        "hub",
        "hub-services stop 2>/dev/null; hub-services start proxy; HUB_OPTIONS='--debug "
        f"{options}' hub-services start hub",
    )
    answers(triton)


def answers(triton, seconds=PATIENCE):
    look = (
        f"for i in $(seq {seconds * 5}); do curl --silent --fail --output /dev/null "
        f"--max-time 5 {HUB}/hub/login && exit; sleep 0.2; done; exit 1"
    )
    triton.run("hub", look, timeout=seconds + 60)


def log(triton, name="hub"):
    return triton.run("hub", f"cat /var/log/jupyterhub-{name}.log").stdout


# ---------------------------------------------------------------- many people

# A person as a program on a reader's computer: logs in, starts a server and opens it, by the
# requests that a browser sends.
# Arguments begin with the hub's address and that of the servers, in which a * stands for the user.
PERSON = r"""
import concurrent.futures, http.cookiejar, json, re, sys, time, urllib.error, urllib.parse, urllib.request
hub, servers = sys.argv[1:3]

class Person:
    def __init__(self, name, password):
        self.name, self.password, self.jar = name, password, http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def open(self, path, form=None, method=None, data=None):
        if form or method or "/hub/api/" in path:
            path += "?_xsrf=" + next(cookie.value for cookie in self.jar if cookie.name == "_xsrf" and cookie.path == "/hub/")
        where = servers.replace("*", self.name) if path.startswith("/user/") else hub
        request = urllib.request.Request(where + path, data or form and urllib.parse.urlencode(form).encode(), method=method)
        if data:
            request.add_header("Content-Type", "application/json")
        with self.opener.open(request, timeout=120) as answer:
            return answer.read().decode()

    def log_in(self):
        self.open("/hub/login")
        self.open("/hub/login", {"username": self.name, "password": self.password})
        self.open("/hub/spawn")

    def known(self):
        return json.loads(self.open(f"/hub/api/users/{self.name}"))

def server(person, name):
    return f"/hub/api/users/{person.name}/server{'s/' + name if name else ''}"

def failure(person):
    with person.opener.open(hub + server(person, "") + "/progress", timeout=90) as stream:
        for line in stream:
            event = json.loads(line[5:]) if line.startswith(b"data:") else {}
            if event.get("failed") or event.get("ready"):
                return event["message"]
"""

# Each person starts a server and opens it. Arguments: a profile, the seconds within which all begin
# and those between two looks; people and passwords as JSON on standard input.
CROWD = (
    PERSON
    + r"""
profile, within, look = sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
people = json.load(sys.stdin)

def start(person, later):
    time.sleep(later)
    began = time.monotonic()
    person.log_in()
    clicked = time.monotonic()
    person.open("/hub/spawn", {"profile": profile})
    while not (known := person.known())["servers"].get("", {}).get("ready"):
        if not known["pending"]:
            raise RuntimeError(failure(person))
        if time.monotonic() - began > 300:
            raise RuntimeError("no server after 300 s")
        time.sleep(look)
    page = person.open(f"/user/{person.name}/lab")
    now, own = time.monotonic(), re.search('"(?:baseUrl|prefix)": ?"([^"]*)"', page)[1] == f"/user/{person.name}/"
    return {"seconds": round(now - began, 1), "from_click": now - clicked, "own": own}

def attempt(number, name):
    try:
        return start(Person(name, people[name]), within * number / len(people))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}

with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
    print(json.dumps(dict(zip(people, pool.map(attempt, range(len(people)), people)))))
"""
)

# People who do what they are told: a line of JSON for each thing to do, [number, name, password,
# verb, words ...], and one for each answer.
PEOPLE = (
    PERSON
    + r"""
import threading
known, say, lines = {}, threading.Lock(), threading.BoundedSemaphore(400)

def start(person, profile, name=""):
    person.open(server(person, name), method="POST", data=json.dumps({"profile": profile}).encode())

def stop(person, name=""):
    person.open(server(person, name), method="DELETE")

def whose(person, name=""):
    return json.loads(person.open(f"/user/{person.name}/{name}"))

def progress(person, seconds):
    until, heard = time.monotonic() + seconds, 0
    with person.opener.open(hub + server(person, "") + "/progress", timeout=seconds) as stream:
        try:
            for line in stream:
                heard += line.startswith(b"data:")
                if time.monotonic() > until:
                    break
        except TimeoutError:
            pass
    return heard

def look(person, path):
    began = time.monotonic()
    person.open(path)
    return time.monotonic() - began

VERBS = {"log_in": Person.log_in, "known": Person.known, "start": start, "stop": stop, "whose": whose, "progress": progress, "look": look, "failure": failure}

def obey(number, name, password, verb, *words):
    try:
        person = known.setdefault(name, Person(name, password))
        answer = {"said": VERBS[verb](person, *words)}
    except urllib.error.HTTPError as error:
        answer = {"status": error.code, "error": f"{error}: {error.read().decode(errors='replace')[:300]}"}
    except Exception as error:
        answer = {"status": 0, "error": f"{type(error).__name__}: {error}"}
    with say:
        print(json.dumps([number, answer]), flush=True)

for line in sys.stdin:
    threading.Thread(target=obey, args=json.loads(line), daemon=True).start()
"""
)


class Refused(AssertionError):
    """What a person wanted did not work; `status` is the hub's answer, 0 if there was none."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class People:
    """Any number of people at a reader's computer; `ask` may be called by many threads at once."""

    def __init__(self, triton):
        self.triton, self.answers, self.news, self.count = triton, {}, threading.Condition(), 0
        triton.write("laptop", "/tmp/people.py", PEOPLE)
        self.process = triton.start(
            "laptop",
            ["/usr/bin/python3", "/tmp/people.py", HUB, SERVERS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            number, answer = json.loads(line)
            with self.news:
                self.answers[number] = answer
                self.news.notify_all()

    def tell(self, user, verb, *words):
        """Have the person begin; return a number for `answer`."""
        with self.news:
            self.count += 1
            print(
                json.dumps([self.count, user, self.triton.password(user), verb, *words]),
                file=self.process.stdin,
                flush=True,
            )
            return self.count

    def answer(self, number, seconds=150):
        """What came of it. Raises Refused."""
        with self.news:
            assert self.news.wait_for(lambda: number in self.answers, seconds), (
                "a person has no answer"
            )
            answer = self.answers.pop(number)
        if "error" in answer:
            raise Refused(answer["status"], answer["error"])
        return answer["said"]

    def ask(self, user, verb, *words):
        return self.answer(self.tell(user, verb, *words))

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


STAND_IN = f"{FACTS['paths']['scratch']}/stand-in"
# options of the hub
WITH_STAND_INS = f"--ProfileSpawner.batchspawner_singleuser_cmd={STAND_IN}/batchspawner-singleuser"


def put_stand_in(triton):
    """Put a small server where WITH_STAND_INS, options of the hub, finds it in place of JupyterLab."""
    triton.run("login", f"mkdir -p {STAND_IN}; ln -sf /usr/bin/python3 {STAND_IN}/python")
    triton.write(
        "login",
        f"{STAND_IN}/batchspawner-singleuser",
        (cluster.ROOT / "tools/cluster/stand-in-server.py").read_text(encoding="utf-8"),
        mode="755",
    )


def crowd(triton, users, profile, within, look=1):
    """All `users` log in within so many seconds, start servers of `profile` and open them: {user:
    {"seconds", "from_click", "own"} or {"error"}}.
    """
    people = json.dumps({user: triton.password(user) for user in users})
    triton.write("laptop", "/tmp/crowd.py", CROWD)
    said = triton.run(
        "laptop",
        ["/usr/bin/python3", "/tmp/crowd.py", HUB, SERVERS, profile, str(within), str(look)],
        input=people,
        timeout=500,
    ).stdout
    return json.loads(said)
