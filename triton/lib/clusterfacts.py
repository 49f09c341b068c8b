"""The facts about a cluster: facts.toml, read and checked. All that reads facts reads them here.

The dataclasses are the schema: a field is a fact, and its type says what it looks like. `load`
returns Facts, or raises FactsError, one sentence with file and line. What a centre may lack is
None where the file leaves it out, and the sentences about it go from the pages.

    clusterfacts.py facts.toml      check a file
"""

import difflib
import fnmatch
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints


class FactsError(ValueError):
    """What is wrong in a facts.toml: file, line, and what to write, in one sentence."""


# ---------------------------------------------------------------- what a value looks like


@dataclass(frozen=True)
class Kind:
    """Which values fit, and how that is said to the person who wrote another one."""

    says: str
    fits: Callable[[Any], object]


def _text(pattern: str, says: str) -> Kind:
    return Kind(says, lambda value: isinstance(value, str) and re.fullmatch(pattern, value))


def _number(says: str, least: float, most: float, *types: type) -> Kind:
    return Kind(says, lambda value: type(value) in types and least <= value <= most)


def _are_solutions(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return value in ("all", "none")


_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
_PATH = r"(/[\w.+-]+)+"
_KEY = r"SHA256:[A-Za-z0-9+/]{43}"

Text = Annotated[str, _text(r"\S(.*\S)?", "a phrase")]
Name = Annotated[str, _text(r"[\w.+-]+(/[\w.+-]+)*", "a name without spaces")]
Host = Annotated[str, _text(_HOST, "the name of a host, as login.example.org")]
Servers = Annotated[str, _text(rf"(\*\.)?{_HOST}", "the name of a host, or *. and the name of one")]
Node = Annotated[str, _text(r"[A-Za-z][\w-]*\d", "the name of a node, letters and then a number")]
NodeSsh = Annotated[
    str,
    _text("nobody|whoever has a job there", '"nobody", or "whoever has a job there"'),
]
Pattern = Annotated[str, _text(r"[\w.*-]*\*[\w.*-]*", "a host name with a *")]
Url = Annotated[str, _text(r"https?://[^\s/]+(/\S*)?", "an address that begins with https://")]
Repository = Annotated[
    str,
    _text(
        r"https?://[^\s/]+(/[^\s/]+){2,}/?",
        "the address of a repository, as https://github.com/owner/name",
    ),
]
Report = Annotated[str, _text(r"/\S*\{title\}\S*", "what stands behind issues, with {title} in it")]
AbsolutePath = Annotated[str, _text(_PATH, "a path that begins with / and has no spaces")]
HomePath = Annotated[str, _text(rf"~{_PATH}", "a path that begins with ~/ and has no spaces")]
LogPattern = Annotated[str, _text(r"~/[\w.+-]*\*[\w.+-]*", "~/ and a file name with one *")]
SlurmTime = Annotated[
    str,
    _text(
        r"(?=.*[1-9])((\d+-)?\d+:\d\d:\d\d|\d+:\d\d)",
        "a time as Slurm writes it, as 5-00:00:00",
    ),
]
Fingerprint = Annotated[str, _text(_KEY, "a fingerprint as ssh-keygen -l prints it, SHA256:...")]
Port = Annotated[int, _number("a port, a number from 1024 to 65535", 1024, 65535, int)]
Days = Annotated[int, _number("a number of days, as 7", 1, 10**6, int)]
Cores = Annotated[int, _number("a number of cores, as 1", 1, 10**4, int)]
Minutes = Annotated[int, _number("a number of minutes, as 60", 1, 10**6, int)]
Gigabytes = Annotated[
    float, _number("a number of gigabytes, as 2 or 2.5", 2**-10, 10**6, int, float)
]
Solutions = Annotated[
    str | list[str], Kind('"all", "none", or a list of notebooks', _are_solutions)
]


# ---------------------------------------------------------------- the facts


@dataclass(frozen=True)
class Cluster:
    """What people call it, and from where it is reached."""

    name: Text
    university: Text
    network: Text
    wifi: Text | None = None
    guests: Text | None = None
    vpn: Text | None = None


@dataclass(frozen=True)
class Access:
    """Who may use it, where they ask for it, and whom they thank."""

    form: Url
    people: Text
    price: Text
    thanks: Text
    report: Url | None = None
    help: Url | None = None


@dataclass(frozen=True)
class Site:
    """The guide: where it is published, its repository, its tracker."""

    url: Url
    repository: Repository
    branch: Name
    issues: Url
    report: Report
    status: Text | None = None
    ai: Url | None = None
    confidential: Url | None = None


@dataclass(frozen=True)
class Hosts:
    """The hosts by what they do; `short` is the first part of `login`."""

    login: Host
    short: Host
    hub: Host
    servers: Servers
    inside: Host
    domain: Host
    node: Node
    node_ssh: NodeSsh
    gateway: Host | None = None
    ondemand: Host | None = None


@dataclass(frozen=True)
class HostKey:
    """A key by which the login node proves that it is the one; ssh shows the fingerprint."""

    type: Name
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Proxy:
    """Ports on a reader's computer, and which addresses go through the proxy."""

    port: Port
    pattern: Pattern
    example: Port


@dataclass(frozen=True)
class Paths:
    """Where things are; `work` lies in `scratch`, and `jupyter_env` in `apps`."""

    home: AbsolutePath
    scratch: AbsolutePath
    work: AbsolutePath
    apps: AbsolutePath
    jupyter_env: AbsolutePath
    r_kernel: AbsolutePath
    user_kernels: HomePath


@dataclass(frozen=True)
class Quota:
    """How much one person may store."""

    home_gb: Gigabytes


@dataclass(frozen=True)
class Modules:
    """What Lmod calls the software."""

    jupyter: Name
    python: Name
    r: Name
    demo: Name
    matlab: Name | None = None
    octave: Name | None = None
    julia: Name | None = None
    cuda: Name | None = None


@dataclass(frozen=True)
class Partitions:
    """Slurm's partitions."""

    interactive: Name
    batch: Name
    gpu: Name | None = None


@dataclass(frozen=True)
class Logs:
    """The logs of the hub's servers."""

    pattern: LogPattern
    keep_days: Days


@dataclass(frozen=True)
class Course:
    """What the class uses, and what the site shows of it."""

    profile: Text
    solutions: Solutions


@dataclass(frozen=True)
class Profile:
    """One line of the hub's start page."""

    name: Text
    time: SlurmTime
    memory_gb: Gigabytes
    kill_gb: Gigabytes | None = None
    idle_minutes: Minutes | None = None
    cores: Cores = 1

    @property
    def seconds(self) -> int:
        """How long a server runs."""
        return round(seconds(self.time))

    @property
    def kill_bytes(self) -> int:
        """The memory above which Slurm kills a server; 0 for all that the node has."""
        return round((self.kill_gb or 0) * 2**30)

    @property
    def slurm_memory(self) -> str:
        """The same for --mem, which takes no fraction: 8192M; 0 for all that the node has."""
        return f"{self.kill_bytes // 2**20}M" if self.kill_bytes else "0"

    @property
    def idle_seconds(self) -> int:
        """After how many seconds without use a server is stopped; 0 for never."""
        return (self.idle_minutes or 0) * 60

    def in_words(self) -> dict[str, str]:
        """What the start page and the guide's table say of it."""
        return {
            "name": self.name,
            "time": duration(self.seconds),
            "cores": str(self.cores),
            "memory": size(self.memory_gb),
            "kill": size(self.kill_gb) if self.kill_gb else "the whole node",
            "idle": f"stopped after {_count(self.idle_minutes, 'minute')}"
            if self.idle_minutes
            else "never stopped",
        }


@dataclass(frozen=True)
class Gpu:
    """GPUs of one kind: how they are asked for, and who may."""

    name: Text
    type: Name
    memory_gb: Gigabytes
    partition: Name
    people: Text


# ---------------------------------------------------------------- facts in words


def duration(seconds: int) -> str:
    """A time in the largest unit that needs no fraction: "5 days", "36 hours"."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            return _count(seconds // length, unit)
    return _count(seconds, "second")


def seconds(time: str) -> float:
    """The seconds of a time as Slurm writes it: 5-00:00:00, 10:00:00, 10:00, 00:04.207."""
    days, _, clock = time.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return int(days or 0) * 86400 + total


def size(gigabytes: float) -> str:
    """A size: "2.5 GB", "400 MB"."""
    return f"{gigabytes:g} GB" if gigabytes >= 1 else f"{gigabytes * 1024:g} MB"


def _days(days: int) -> str:
    return {7: "one week", 14: "two weeks"}.get(days) or _count(days, "day")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


_UNITS: dict[str, Callable[[Any], str]] = {"gb": size, "days": _days}


def _in_words(table: object) -> dict[str, Any]:
    """The facts of a table, those with a unit in words and named without it."""
    words: dict[str, Any] = {}
    for name, value in vars(table).items():
        short, _, unit = name.rpartition("_")
        if value is None:
            continue
        if unit in _UNITS:
            words[short] = _UNITS[unit](value)
        else:
            words[name] = value
    return words


@dataclass(frozen=True)
class Facts:
    """A whole facts.toml."""

    cluster: Cluster
    access: Access
    site: Site
    hosts: Hosts
    proxy: Proxy
    paths: Paths
    quota: Quota
    modules: Modules
    partitions: Partitions
    logs: Logs
    course: Course
    profiles: tuple[Profile, ...]
    host_keys: tuple[HostKey, ...]
    gpus: tuple[Gpu, ...] = ()
    own: dict[str, Any] = field(default_factory=dict)  # other tables, for a centre's own pages

    def in_words(self) -> dict[str, Any]:
        """The tables as people read them, for {{ table.key }}: home_gb = 10 is quota.home, "10 GB".

        What a centre lacks is left out.
        """
        tables = {
            name: _in_words(table) for name, table in vars(self).items() if is_dataclass(table)
        }
        lists = {
            "profiles": [profile.in_words() for profile in self.profiles],
            "host_keys": [_in_words(key) for key in self.host_keys],
        }
        if self.gpus:
            first = self.gpus[0]  # that of examples
            # The last that the same people may ask for.
            [*_, other] = [gpu for gpu in self.gpus if gpu.people == first.people]
            tables["gpu"] = {"type": first.type, "partition": first.partition}
            for key in ("name", "type", "partition"):
                tables["gpu"][f"other_{key}"] = getattr(other, key)
            lists["gpus"] = [_in_words(gpu) for gpu in self.gpus]
        return self.own | tables | lists

    def prompts(self) -> dict[str, str]:
        """What a prompt's host is, in words: {"triton": "Triton, login node"}."""
        return {
            self.hosts.short: f"{self.cluster.name}, login node",
            self.hosts.node: f"{self.cluster.name}, compute node",
            "laptop": "your computer",
            "outside": "your computer, elsewhere",
        }


# What a centre may lack, as table.key.
OPTIONAL = tuple(
    f"{table.name}.{fact.name}"
    for table in fields(Facts)
    if is_dataclass(table.type)
    for fact in fields(table.type)
    if fact.default is None
)


# ---------------------------------------------------------------- the file


def load(path: str | Path) -> Facts:
    """The facts in the file `path`, checked; raises FactsError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
    except OSError as error:
        raise FactsError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FactsError(f"{path} is not written in UTF-8: save it so") from None
    except tomllib.TOMLDecodeError as error:
        problem, _, where = str(error).partition(" (at ")
        line = re.search(r"line (\d+)", where)
        number = line[1] if line else len(text.splitlines())
        raise FactsError(f"{path}:{number}: {problem}") from None
    place = _Place(path, text)
    facts = _facts(tables, place)
    _check_together(facts, place)
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
        self.path = path
        self.text = text

    def error(self, name: str, sentence: str, index: int = 0) -> FactsError:
        """The error to raise: `sentence` goes on behind the name of the fact."""
        try:
            where = f"{self.path}:{line_of(self.text, name, index)}"
        except KeyError:
            where = str(self.path)
        return FactsError(f"{where}: {name} {sentence}")


def _facts(tables: dict[str, Any], place: _Place) -> Facts:
    """The Facts in the `tables` of a file; raises FactsError for the first that is wrong."""
    known: dict[str, Any] = {}
    for name, table in get_type_hints(Facts).items():
        if isinstance(table, type) and is_dataclass(table):
            if not isinstance(tables.get(name), dict):
                raise place.error(name, f"is missing: write the table [{name}]")
            known[name] = _record(table, name, tables[name], place)
    lists = (("profiles", Profile, 1), ("host_keys", HostKey, 1), ("gpus", Gpu, 0))
    for name, cls, least in lists:
        entries = tables.get(name, [])
        if not (
            isinstance(entries, list)
            and len(entries) >= least
            and all(isinstance(entry, dict) for entry in entries)
        ):
            raise place.error(name, f"is missing: write the table [[{name}]], once or more")
        known[name] = tuple(
            _record(cls, name, entry, place, index) for index, entry in enumerate(entries)
        )
    return Facts(**known, own={name: tables[name] for name in tables if name not in known})


def _record(
    cls: type[Any], table: str, values: dict[str, Any], place: _Place, index: int = 0
) -> Any:
    """The `values` of a table as a `cls`; raises FactsError for one that does not fit its field."""
    schema = {fact.name: fact for fact in fields(cls)}
    for key in values:
        if key not in schema:
            near = [name for name in schema if name.startswith(key)]
            near += difflib.get_close_matches(key, schema, 1)
            meant = f": is {near[0]} meant?" if near else ""
            raise place.error(f"{table}.{key}", f"is no fact that anything reads{meant}", index)
    for key, type_ in get_type_hints(cls, include_extras=True).items():
        if key not in values:
            if schema[key].default is MISSING:
                raise place.error(f"{table}.{key}", "is missing", index)
            continue
        if problem := _problem(type_, values[key]):
            sentence = f"is {values[key]!r}: write {problem}"
            raise place.error(f"{table}.{key}", sentence, index)
    return cls(**values)


def _problem(type_: Any, value: object) -> str:
    """What a value of a field's type looks like, if this is none; an empty string if it is."""
    if not hasattr(type_, "__metadata__"):
        type_ = get_args(type_)[0]  # of Host | None
    [kind] = type_.__metadata__
    if kind.fits(value):
        return ""
    if type_.__origin__ is str and not isinstance(value, str):
        return "it in quotation marks"
    return str(kind.says)


def _check_together(facts: Facts, place: _Place) -> None:
    """Raise FactsError for two facts that do not go together."""
    hosts = facts.hosts
    first = hosts.login.split(".")[0]
    node = f"{hosts.node}.{hosts.domain}"
    if hosts.short != first:
        sentence = f"is {hosts.short!r}: it is the first part of hosts.login, {first!r}"
        raise place.error("hosts.short", sentence)
    if not fnmatch.fnmatch(node, facts.proxy.pattern):
        raise place.error("proxy.pattern", f"is {facts.proxy.pattern!r}, and fits no node: {node}")
    for inner, outer in (("work", "scratch"), ("jupyter_env", "apps")):
        path, above = getattr(facts.paths, inner), getattr(facts.paths, outer)
        if not Path(path).is_relative_to(above):
            sentence = f"is {path!r}: it lies in paths.{outer}, {above!r}"
            raise place.error(f"paths.{inner}", sentence)
    if bool(facts.gpus) != bool(facts.partitions.gpu):
        raise place.error("partitions.gpu", "and the tables [[gpus]] are there together, or not")
    _check_profiles(facts, place)


def _check_profiles(facts: Facts, place: _Place) -> None:
    names = [profile.name for profile in facts.profiles]
    for index, profile in enumerate(facts.profiles):
        if profile.name in names[:index]:
            sentence = f"is {profile.name!r}, as that of another profile"
            raise place.error("profiles.name", sentence, index)
        if profile.kill_gb and profile.kill_gb < profile.memory_gb:
            sentence = f"is {profile.kill_gb}, less than memory_gb, {profile.memory_gb}"
            raise place.error("profiles.kill_gb", sentence, index)
    if facts.course.profile not in names:
        sentence = f"is {facts.course.profile!r}, and no profile is called so: "
        raise place.error("course.profile", sentence + ", ".join(map(repr, names)))


if __name__ == "__main__":
    try:
        load(sys.argv[1])
    except FactsError as error:
        sys.exit(str(error))
