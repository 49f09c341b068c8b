"""Git, called for the repository of a folder, also from a hook."""

import os
import subprocess

# Git hands these to its hooks. They name the repository that is being committed to, whatever folder
# git is then called in.
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


def environment() -> dict[str, str]:
    """The variables of this process without those that choose a repository."""
    return {name: value for name, value in os.environ.items() if name not in CHOOSE_A_REPOSITORY}


def run(*arguments, cwd, **options) -> subprocess.CompletedProcess:
    """The finished `git ARGUMENTS`, called in the folder `cwd`; its output is kept, as bytes unless
    `options` say otherwise.
    """
    return subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env=options.pop("env", None) or environment(),
        capture_output=True,
        **options,
    )
