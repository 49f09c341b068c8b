"""What this guide is made with: a table for people, a list for programs, and what is known to be
unsafe.

    python -m tools.dependencies table        into _build/dependencies.md
    python -m tools.dependencies sbom FOLDER  one CycloneDX file for each lock
    python -m tools.dependencies audit        asks the registries for known vulnerabilities

The table has what somebody has asked for by name in a requirements.in or a package.json; the list
and the audit have all that those bring along. `audit` passes over what stands, with reason and day,
in tools/accepted.toml. The exit status is 1 if it finds anything else, or cannot ask.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.request import Request, urlopen

from tools.files import ROOT, write_whole

BIN = ROOT / ".lint/bin"
ACCEPTED = ROOT / "tools/accepted.toml"
TARGET = ROOT / "_build/dependencies.md"
ASKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?[^#]*(?:#\s*(.*))?$")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
SECONDS = 30  # for one answer of a registry


@dataclass
class Dependency:
    """A package that a file names; `purpose` is the comment behind it there."""

    name: str
    version: str
    purpose: str
    file: str
    released: str = "unknown"
    newest: str = "unknown"


def locks() -> list[Path]:
    """The pinned requirements, one file for each environment."""
    return sorted(source.with_suffix(".txt") for source in _tracked("*requirements*.in"))


def npm_folders() -> list[Path]:
    """The folders with a lock of npm."""
    return sorted(path.parent for path in _tracked("*package-lock.json"))


def _tracked(pattern: str) -> list[Path]:
    command = ["git", "ls-files", "-z", pattern]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in printed.split("\0") if name]


def asked_for() -> Iterator[Dependency]:
    """The packages of Python that a requirements.in names, with the version of its lock."""
    for lock in locks():
        pinned = dict(PINNED.findall(lock.read_text(encoding="utf-8")))
        source = lock.with_suffix(".in")
        for line in source.read_text(encoding="utf-8").splitlines():
            if match := ASKED.match(line):
                name = match[1].lower().replace("_", "-")
                file = source.relative_to(ROOT).as_posix()
                yield Dependency(name, pinned[name], match[2] or "", file)


def _answer(url: str, kind: str) -> bytes:
    with urlopen(Request(url, headers={"Accept": kind}), timeout=SECONDS) as reply:
        content: bytes = reply.read()
    return content


def index() -> str:
    """The address of the index from which uv takes packages here."""
    command = [str(ROOT / ".venv/bin/uv"), "pip", "compile", "-q", "--emit-index-url", "-"]
    printed = subprocess.run(command, input="", capture_output=True, text=True, check=True).stdout
    address: str = printed.split("--index-url")[1].split()[0]
    return address


def look_up(dependency: Dependency, address: str) -> Dependency:
    """Fill in when its version and its newest one were released, from the index:
    https://peps.python.org/pep-0700/. A package that it does not know keeps `unknown`.
    """
    kind = "application/vnd.pypi.simple.v1+json"
    files = json.loads(_answer(f"{address}/{dependency.name}/", kind))["files"]
    days = {file["filename"]: file["upload-time"][:10] for file in files if "upload-time" in file}
    words = re.split(r"[-_.]+", dependency.name)
    mine = re.compile(rf"{'[-_.]+'.join(words)}-{re.escape(dependency.version)}(?:-|\.[tz])", re.I)
    dependency.released = min(
        (d for name, d in days.items() if mine.match(name)), default="unknown"
    )
    dependency.newest = max(days.values(), default="unknown")
    return dependency


def licences() -> dict[str, str]:
    """{package: its licence}, of all that is installed in the environments of this checkout."""
    folders = [
        str(path)
        for pattern in (".*/lib/python*/site-packages", ".triton/*/*/**/site-packages")
        for path in ROOT.glob(pattern)
    ]
    found = {}
    for installed in metadata.distributions(path=folders):
        about = installed.metadata
        classified = [
            line.rpartition(":: ")[2]
            for line in about.get_all("Classifier") or []
            if line.startswith("License :: OSI")
        ]
        said = about["License-Expression"] or ", ".join(classified) or about["License"] or "unknown"
        found[about["Name"].lower().replace("_", "-")] = said.strip().splitlines()[0][:40]
    return found


def table() -> str:
    """The packages in Markdown, the one first that has had no release for longest."""
    dependencies, address, licensed = list(asked_for()), index(), licences()
    with ThreadPoolExecutor(8) as pool:
        known = list(pool.map(lambda one: look_up(one, address), dependencies))
    rows = [
        f"| {one.name} | {one.version} | {one.released} | {one.newest} "
        f"| {licensed.get(one.name, 'not installed here')} | {one.purpose} | {one.file} |"
        for one in sorted(known, key=lambda one: (one.newest, one.name, one.file))
    ]
    head = "| package | version | of | newest release | licence | what for | asked for in |"
    return "\n".join(["# What this guide is made with", "", head, "|---" * 7 + "|", *rows, ""])


def sbom(folder: Path) -> None:
    """Write a CycloneDX list of all packages of each lock into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for lock in locks():
        name = lock.relative_to(ROOT).with_suffix("").as_posix().replace("/", "-")
        target = folder / f"sbom-{name}.json"
        command = [f"{BIN}/cyclonedx-py", "requirements", f"{lock}", "--output-reproducible"]
        subprocess.run([*command, "-o", f"{target}"], check=True)
    for npm in npm_folders():
        name = npm.relative_to(ROOT).as_posix().replace("/", "-")
        printed = _npm(npm, "sbom", "--package-lock-only", "--sbom-format=cyclonedx")
        printed.check_returncode()
        write_whole(folder / f"sbom-npm-{name}.json", printed.stdout)


def _npm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    command = ["npm", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def audit() -> int:
    """Print what is known to be unsafe and not accepted; return the exit status."""
    accepted = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))
    passed_over = [part for name in accepted for part in ("--ignore-vuln", name)]
    options = ["--progress-spinner=off", "--disable-pip", "--require-hashes", "--strict"]
    audited = [
        subprocess.run([f"{BIN}/pip-audit", *options, "-r", f"{lock}", *passed_over]).returncode
        for lock in locks()
    ]
    unsafe = [line for folder in npm_folders() for line in npm_findings(folder, accepted)]
    print("\n".join(unsafe))
    return int(any(audited) or bool(unsafe))


def npm_findings(folder: Path, accepted: Collection[str]) -> Iterator[str]:
    """A line for each vulnerability below the folder that is not accepted."""
    name, done = folder.relative_to(ROOT), _npm(folder, "audit", "--json")
    report = json.loads(done.stdout or "{}")
    if "vulnerabilities" not in report:
        yield f"{name}: npm could not ask: {report.get('message', done.stderr.strip())}"
    for package, problem in report.get("vulnerabilities", {}).items():
        for cause in problem["via"]:
            # What is no dictionary is the name of a package that has the cause itself.
            finding = cause["url"].rpartition("/")[2] if isinstance(cause, dict) else None
            if finding and finding not in accepted:
                yield f"{name}: {package} has {finding}, {cause['title']}"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["table"]:
            write_whole(TARGET, table())
            print(f"{TARGET.relative_to(ROOT)} has what the guide is made with.")
        case ["sbom", folder]:
            sbom(Path(folder))
        case ["audit"]:
            return audit()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
