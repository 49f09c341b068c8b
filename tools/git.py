"""Call git for the repository of a folder, also inside a hook of another repository."""

import os
import subprocess
from pathlib import Path
from typing import Any, Literal, overload

# Git sets these for its hooks. They name the repository of the commit, and git then ignores the
# folder in which it is called.
CHOOSE_A_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_IMPLICIT_WORK_TREE",
)


def forget_the_hook() -> None:
    """Remove these variables from this process, so that git takes the repository of the folder."""
    for name in CHOOSE_A_REPOSITORY:
        os.environ.pop(name, None)


def environment() -> dict[str, str]:
    """The variables of this process without those in CHOOSE_A_REPOSITORY."""
    return {name: value for name, value in os.environ.items() if name not in CHOOSE_A_REPOSITORY}


@overload
def run(
    *arguments: str | Path, cwd: Path, text: Literal[True], **options: Any
) -> subprocess.CompletedProcess[str]: ...


@overload
def run(
    *arguments: str | Path, cwd: Path, text: Literal[False] = False, **options: Any
) -> subprocess.CompletedProcess[bytes]: ...


def run(
    *arguments: str | Path, cwd: Path, text: bool = False, **options: Any
) -> subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]:
    """Call `git ARGUMENTS` in the folder `cwd`; return the completed process.

    Its output is captured, as bytes unless `text` is set. The other options are those of
    subprocess.run; the default of `env` is environment().
    """
    options["env"] = options.get("env") or environment()
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=text, **options)


def said(folder: Path, *arguments: str) -> str:
    """What git prints in the folder, without spaces at its ends.

    Raises subprocess.CalledProcessError if git cannot do it.
    """
    printed = run(*arguments, cwd=folder, text=True, check=True).stdout
    return str(printed).strip()


def told(folder: Path, *arguments: str) -> str:
    """What git prints in the folder, whoever owns it; "" if it cannot tell."""
    printed = run("-c", "safe.directory=*", *arguments, cwd=folder, text=True).stdout
    return str(printed).strip()
