"""The facts about a cluster: facts.toml, read and checked. All that reads facts reads them here.

`load` returns the file's tables as they stand, and raises FactsError, one sentence with file and
line, for a value that nobody could use. What a centre lacks (OPTIONAL) is left out of the file, and
the sentences about it go with it. A table that this file does not know is the centre's own, for
pages of its own.

    clusterfacts.py facts.toml      check a file
"""

import difflib
import fnmatch
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
_PATH = r"(/[\w.+-]+)+"
_NAME = r"[\w.+-]+(/[\w.+-]+)*"
_NUMBERS = (
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_BYTES = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
WHOLE_NODE, NEVER = "the whole node", "never stopped"

# What a kind of value looks like, and how that is said to the person who wrote something else.
_KINDS = {
    "text": (r"\S(.*\S)?", "a phrase"),
    "host": (_HOST, "the name of a host, as login.example.org"),
    "servers": (rf"(\*\.)?{_HOST}", "the name of a host, or *. and the name of one"),
    "node": (r"[A-Za-z][\w-]*\d", "the name of a node, letters and then a number"),
    "url": (r"https?://[^\s/]+(/\S*)?", "an address that begins with https://"),
    "repository": (
        r"https?://[^\s/]+(/[^\s/]+){2,}/?",
        "the address of a repository, as https://github.com/owner/name",
    ),
    "report": (r"/\S*\{title\}\S*", "what stands behind issues, with {title} in it"),
    "path": (_PATH, "a path that begins with / and has no spaces"),
    "home path": (rf"~{_PATH}", "a path that begins with ~/ and has no spaces"),
    "logs": (r"~/[\w.+-]*\*[\w.+-]*", "~/ and a file name with one *"),
    "name": (_NAME, "a name without spaces"),
    "pattern": (r"[\w.*-]*\*[\w.*-]*", "a host name with a *"),
    "slurm time": (r"(\d+-)?\d+(:\d\d){1,2}", "a time as Slurm writes it, as 5-00:00:00"),
}
SCHEMA = {
    "cluster": {
        "name": "text",
        "university": "text",
        "network": "text",
        "guests": "text",
        "vpn": "text",
    },
    "site": {
        "url": "url",
        "repository": "repository",
        "branch": "name",
        "issues": "url",
        "report": "report",
    },
    "hosts": {
        "login": "host",
        "short": "host",
        "hub": "host",
        "servers": "servers",
        "inside": "host",
        "gateway": "host",
        "domain": "host",
        "node": "node",
    },
    "proxy": {"port": "port", "pattern": "pattern", "example": "port"},
    "paths": {
        "home": "path",
        "scratch": "path",
        "work": "path",
        "apps": "path",
        "jupyter_env": "path",
        "r_kernel": "path",
        "user_kernels": "home path",
    },
    "quota": {"home": "size"},
    "modules": {name: "name" for name in ("jupyter", "python", "matlab", "r", "julia", "demo")},
    "partitions": {"interactive": "name", "batch": "name"},
    "logs": {"pattern": "logs", "keep": "duration"},
    "course": {"profile": "text", "solutions": "solutions"},
    "profiles": {
        "name": "text",
        "time": "duration",
        "slurm_time": "slurm time",
        "memory": "size",
        "most": "most",
        "idle": "idle",
    },
}
OPTIONAL = ("cluster.guests", "cluster.vpn", "hosts.gateway", "modules.matlab", "modules.julia")


class FactsError(ValueError):
    """What is wrong in a facts.toml: file, line, and what to write, in one sentence."""


# ---------------------------------------------------------------- values


def seconds(text: str) -> int:
    """The seconds in a duration such as "two weeks" or "60 minutes"; raises ValueError."""
    match = re.fullmatch(rf"(\d+|{'|'.join(_NUMBERS)}) (minute|hour|day|week)s?", text)
    number = (
        0 if not match else int(match[1]) if match[1].isdigit() else 1 + _NUMBERS.index(match[1])
    )
    if not match or number < 1:
        raise ValueError('a duration, as "60 minutes", "10 hours", "5 days" or "two weeks"')
    return number * _SECONDS[match[2]]


def size(text: str) -> int:
    """The bytes in a size such as "2.5 GB", counted in powers of 1024 as Slurm does; raises
    ValueError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ([KMGT]B)", text)
    if not match or float(match[1]) <= 0:
        raise ValueError('a size, as "500 MB" or "2.5 GB"')
    return round(float(match[1]) * _BYTES[match[2]])


def most(text: str) -> int:
    """The bytes of memory at which Slurm kills a job; 0 for all that a node has.

    Raises ValueError.
    """
    try:
        return 0 if text == WHOLE_NODE else size(text)
    except ValueError as error:
        raise ValueError(f'{error}, or "{WHOLE_NODE}"') from None


def idle(text: str) -> int:
    """The seconds after which an unused server is stopped; 0 for never. Raises ValueError."""
    try:
        return (
            0
            if text == NEVER
            else seconds(
                text.removeprefix("stopped after ") if text.startswith("stopped after ") else ""
            )
        )
    except ValueError:
        raise ValueError(f'"{NEVER}", or "stopped after 60 minutes"') from None


def slurm_memory(number: int) -> str:
    """A number of bytes as Slurm's --mem takes it, in the largest unit that needs no fraction: 8G,
    2560M; 0, a whole node.
    """
    if not number:
        return "0"
    unit = next(
        unit for unit in ("TB", "GB", "MB", "KB") if number % _BYTES[unit] == 0 or unit == "KB"
    )
    return f"{number // _BYTES[unit]}{unit[0]}"


def slurm_seconds(text: str) -> int:
    """The seconds in a time as Slurm writes it: 5-00:00:00, 10:00:00, 10:00 (ten minutes)."""
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    total = 0
    for part in parts:
        total = total * 60 + part
    return int(days or 0) * 86400 + total


# ---------------------------------------------------------------- the file


def load(path: str | Path) -> Facts:
    """The facts in the file `path`, checked; raises FactsError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        facts = tomllib.loads(text)
    except OSError as error:
        raise FactsError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FactsError(f"{path} is not written in UTF-8: save it so") from None
    except tomllib.TOMLDecodeError as error:
        said, _, where = str(error).partition(" (at ")
        line = re.search(r"line (\d+)", where)
        raise FactsError(f"{path}:{line[1] if line else len(text.splitlines())}: {said}") from None
    _check(facts, _Place(path, text))
    return facts


def line_of(text: str, name: str, index: int = 0) -> int:
    """The line of facts.toml's `text` that gives the fact `name`, as hosts.login, a value, or else
    that of its table.

    index: in which of the tables that are called so. Raises KeyError if there is neither.
    """
    table, _, key = name.rpartition(".")
    here, heads, found = None, [], {}
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\[+\s*([\w.-]+)\s*\]+", line):
            here = head[1]
            if here == table:
                heads.append(number)
        if here == table and heads and re.match(rf"\s*{re.escape(key)}\s*=", line):
            found[len(heads) - 1] = number
    if index >= len(heads):
        raise KeyError(name)
    return found.get(index, heads[index])


class _Place:
    """Where a fact stands, to say what is wrong there."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    def error(self, name: str, sentence: str, index: int = 0) -> FactsError:
        """The error to raise: `sentence` goes on behind the name of the fact."""
        try:
            where = f"{self.path}:{line_of(self.text, name, index)}"
        except KeyError:
            where = str(self.path)
        return FactsError(f"{where}: {name} {sentence}")


def _check(facts: Facts, place: _Place) -> None:
    for table, schema in SCHEMA.items():
        entries = facts.get(table)
        listed = table == "profiles"
        if not isinstance(entries, list if listed else dict) or (listed and not entries):
            raise place.error(
                table,
                "is missing: write the table "
                + (f"[[{table}]], once or more" if listed else f"[{table}]"),
            )
        for index, entry in enumerate(entries if listed else [entries]):
            _check_table(table, entry, schema, place, index)
    _check_together(facts, place)


def _check_table(
    table: str, entry: Facts, schema: dict[str, str], place: _Place, index: int
) -> None:
    for key in entry:
        if key not in schema:
            near = difflib.get_close_matches(key, schema, 1)
            raise place.error(
                f"{table}.{key}",
                "is no fact that anything reads" + (f": is {near[0]} meant?" if near else ""),
                index,
            )
    for key, kind in schema.items():
        name = f"{table}.{key}"
        if key not in entry:
            if name not in OPTIONAL:
                raise place.error(name, "is missing", index)
        elif problem := _problem(entry[key], kind):
            raise place.error(name, f"is {entry[key]!r}: write {problem}", index)


def _problem(value: Any, kind: str) -> str:
    """What a value of this kind looks like, if this is none; an empty string if it is."""
    if kind == "port":
        return (
            ""
            if type(value) is int and 1024 <= value < 65536
            else "a port, a number from 1024 to 65535"
        )
    if kind == "solutions":
        right = value in ("all", "none") or (
            isinstance(value, list) and all(isinstance(name, str) for name in value)
        )
        return "" if right else '"all", "none", or a list of notebooks'
    if not isinstance(value, str):
        return "it in quotation marks"
    if kind in ("duration", "size", "most", "idle"):
        try:
            {"duration": seconds, "size": size, "most": most, "idle": idle}[kind](value)
        except ValueError as error:
            return str(error)
        return ""
    pattern, said = _KINDS[kind]
    return "" if re.fullmatch(pattern, value) else said


def _check_together(facts: Facts, place: _Place) -> None:
    """What two facts say of each other."""
    hosts, paths, profiles = facts["hosts"], facts["paths"], facts["profiles"]
    if hosts["short"] != hosts["login"].split(".")[0]:
        raise place.error(
            "hosts.short",
            f"is {hosts['short']!r}: it is the first part of hosts.login, "
            f"{hosts['login'].split('.')[0]!r}",
        )
    if not fnmatch.fnmatch(f"{hosts['node']}.{hosts['domain']}", facts["proxy"]["pattern"]):
        raise place.error(
            "proxy.pattern",
            f"is {facts['proxy']['pattern']!r}, and fits no node: "
            f"{hosts['node']}.{hosts['domain']}",
        )
    for inner, outer in (("work", "scratch"), ("jupyter_env", "apps")):
        if not Path(paths[inner]).is_relative_to(paths[outer]):
            raise place.error(
                f"paths.{inner}", f"is {paths[inner]!r}: it lies in paths.{outer}, {paths[outer]!r}"
            )
    names = [profile["name"] for profile in profiles]
    for index, profile in enumerate(profiles):
        if profile["name"] in names[:index]:
            raise place.error(
                "profiles.name", f"is {profile['name']!r}, as that of another profile", index
            )
        if seconds(profile["time"]) != slurm_seconds(profile["slurm_time"]):
            raise place.error(
                "profiles.time",
                f"is {profile['time']!r}, and slurm_time {profile['slurm_time']!r}: they "
                "say one thing",
                index,
            )
        if most(profile["most"]) and most(profile["most"]) < size(profile["memory"]):
            raise place.error(
                "profiles.most",
                f"is {profile['most']!r}, less than memory, {profile['memory']!r}",
                index,
            )
    if facts["course"]["profile"] not in names:
        raise place.error(
            "course.profile",
            f"is {facts['course']['profile']!r}, and no profile is called so: "
            f"{', '.join(map(repr, names))}",
        )


if __name__ == "__main__":
    try:
        load(sys.argv[1])
    except FactsError as error:
        sys.exit(str(error))
