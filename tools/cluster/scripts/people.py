"""People at the hub, as a program on a reader's computer. It sends the requests of a browser.

    people.py HUB SERVERS crowd PROFILE WITHIN LOOK
        Each person starts a server of PROFILE and opens it. All begin within WITHIN seconds, and
        ask every LOOK seconds whether the server is ready. {person: password} comes as JSON on
        standard input; {person: outcome} goes to standard output.
    people.py HUB SERVERS obey
        People do tasks. Each line of input is a task as JSON, [number, name, password, verb,
        words ...]; each line of output is an answer, [number, answer].

HUB is the address of the hub, SERVERS that of the servers, in which a * stands for the user.
"""

import concurrent.futures
import http.cookiejar
import json
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

hub, servers = sys.argv[1:3]
# For all requests: to read the certificates of all authorities takes longer than a request.
TRUSTED = ssl.create_default_context()


class Person:
    """A user of the hub, with the cookies of a browser."""

    def __init__(self, name: str, password: str) -> None:
        self.name = name
        self.password = password
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.jar),
            urllib.request.HTTPSHandler(context=TRUSTED),
        )

    def open(
        self,
        path: str,
        form: dict[str, str] | None = None,
        method: str | None = None,
        data: bytes | None = None,
    ) -> str:
        """The page at `path` of the hub, or of the person's server if it is below /user/."""
        if form or method or "/hub/api/" in path:
            path += "?_xsrf=" + self.token()
        origin = servers.replace("*", self.name) if path.startswith("/user/") else hub
        body = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(origin + path, data or body, method=method)
        if data:
            request.add_header("Content-Type", "application/json")
        with self.opener.open(request, timeout=120) as answer:
            text: bytes = answer.read()
        return text.decode()

    def token(self) -> str:
        """The token that forms of the hub must send, against cross-site requests."""
        return next(
            cookie.value or ""
            for cookie in self.jar
            if cookie.name == "_xsrf" and cookie.path == "/hub/"
        )

    def log_in(self) -> None:
        self.open("/hub/login")
        self.open("/hub/login", {"username": self.name, "password": self.password})
        self.open("/hub/spawn")

    def known(self) -> Any:
        """The hub's record of this person."""
        return json.loads(self.open(f"/hub/api/users/{self.name}"))


def server(person: Person, name: str) -> str:
    """The path of the person's server in the hub's API."""
    return f"/hub/api/users/{person.name}/server{'s/' + name if name else ''}"


def failure(person: Person) -> str | None:
    """The last message about the start of the person's server; None if there was none."""
    with person.opener.open(hub + server(person, "") + "/progress", timeout=90) as stream:
        for line in stream:
            event = json.loads(line[5:]) if line.startswith(b"data:") else {}
            if event.get("failed") or event.get("ready"):
                return str(event["message"])
    return None


# ---------------------------------------------------------------- crowd


def start_and_open(person: Person, profile: str, look: float) -> dict[str, Any]:
    """The seconds until the person's server was open, and whether it is the person's own."""
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
    now = time.monotonic()
    prefix = re.search('"(?:baseUrl|prefix)": ?"([^"]*)"', page)
    if not prefix:
        raise RuntimeError(f"the page does not say whose it is: {page[:300]}")
    return {
        "seconds": round(now - began, 1),
        "from_click": now - clicked,
        "own": prefix[1] == f"/user/{person.name}/",
    }


def crowd(profile: str, within: float, look: float) -> None:
    people: dict[str, str] = json.load(sys.stdin)

    def attempt(number: int, name: str) -> dict[str, Any]:
        try:
            time.sleep(within * number / len(people))
            return start_and_open(Person(name, people[name]), profile, look)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
        answers = pool.map(attempt, range(len(people)), people)
        print(json.dumps(dict(zip(people, answers, strict=True))))


# ---------------------------------------------------------------- obey


def start(person: Person, profile: str, name: str = "") -> None:
    person.open(server(person, name), method="POST", data=json.dumps({"profile": profile}).encode())


def stop(person: Person, name: str = "") -> None:
    person.open(server(person, name), method="DELETE")


def whose(person: Person, name: str = "") -> Any:
    """What the stand-in for JupyterLab answers: its user, its address and its job."""
    return json.loads(person.open(f"/user/{person.name}/{name}"))


def token(person: Person) -> Any:
    """A new token of the person."""
    path = f"/hub/api/users/{person.name}/tokens"
    return json.loads(person.open(path, method="POST", data=b"{}"))


def progress(person: Person, seconds: float) -> int:
    """The number of messages about the start of the server within so many seconds."""
    until = time.monotonic() + seconds
    count = 0
    with person.opener.open(hub + server(person, "") + "/progress", timeout=seconds) as stream:
        try:
            for line in stream:
                count += line.startswith(b"data:")
                if time.monotonic() > until:
                    break
        except TimeoutError:
            pass
    return count


def look(person: Person, path: str) -> float:
    """The seconds that a page takes."""
    began = time.monotonic()
    person.open(path)
    return time.monotonic() - began


VERBS: dict[str, Callable[..., Any]] = {
    "log_in": Person.log_in,
    "known": Person.known,
    "start": start,
    "stop": stop,
    "whose": whose,
    "token": token,
    "progress": progress,
    "look": look,
    "failure": failure,
}


def obey() -> None:
    known: dict[str, Person] = {}
    printing = threading.Lock()

    def follow(number: int, name: str, password: str, verb: str, *words: Any) -> None:
        answer: dict[str, Any]
        try:
            person = known.setdefault(name, Person(name, password))
            answer = {"said": VERBS[verb](person, *words)}
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")[:300]
            answer = {"status": error.code, "error": f"{error}: {text}"}
        except Exception as error:
            answer = {"status": 0, "error": f"{type(error).__name__}: {error}"}
        with printing:
            print(json.dumps([number, answer]), flush=True)

    for line in sys.stdin:
        threading.Thread(target=follow, args=json.loads(line), daemon=True).start()


if __name__ == "__main__":
    if sys.argv[3] == "crowd":
        crowd(sys.argv[4], float(sys.argv[5]), float(sys.argv[6]))
    else:
        obey()
