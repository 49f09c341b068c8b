"""nbdime-git sets git up for notebooks, never harms a repository, and takes itself back without a
trace.

Real repositories, a real nbdime: $NBDIME_ENV names its environment, else .venv-nbdime in the
checkout.
"""

import contextlib
import json
import os
import pty
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tools.files import ROOT

DATA = ROOT / "tests/data/commands"
SCRIPT = ROOT / "triton/bin/nbdime-git"
NATIVE = ["diff", "--no-ext-diff", "--no-textconv", "--no-color"]
HINT = "To repair: nbdime-git enable"
NOBODY = 65534

AWKWARD = [
    "two  spaces",
    'it\'s "quoted"',
    "at@sign and&more",
    "ha#sh; semi;colon",
    "dol$HOME `id` back\\1slash",
    "per%Ocent %A",
    "st*r [a] ?",
    "näme-数",
    "(brackets) {a} <b> | ~ !",
]


@pytest.fixture(scope="session")
def environment():
    """Path of an environment with nbdime.

    A failure, not a skip, without one: nothing here can be tested then.
    """
    path = Path(os.environ.get("NBDIME_ENV") or ROOT / ".venv-nbdime").absolute()
    if not (path / "bin/nbdime").exists():
        pytest.fail(
            f"no nbdime in {path}: make it with `uv venv {path}` and install "
            "tools/requirements-nbdime.txt, or set NBDIME_ENV"
        )
    return path


@pytest.fixture
def env(tmp_path):
    """Environment variables of a person of their own: nothing of the machine's git configuration is
    seen.
    """
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return keep | {
        "HOME": str(home),
        "TMPDIR": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }


def run(*command, env, cwd, ok=True, **options):
    options.setdefault("timeout", 60)
    done = subprocess.run(
        [str(part) for part in command], env=env, cwd=cwd, capture_output=True, text=True, **options
    )
    if ok:
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def code(*sources, outputs=None):
    """JSON text of a notebook with one code cell per source, as Jupyter writes it."""
    cells = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": (outputs or {}).get(number, []),
            "source": source.splitlines(keepends=True),
        }
        for number, source in enumerate(sources)
    ]
    return (
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)
        + "\n"
    )


def sources(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


ONE = code("import math\nradius = 1", "print(radius)", "1 + 1")
TWO = code("import math\nradius = 2", "print(radius)", "1 + 1")


class Repo:
    def __init__(self, path, env, script=SCRIPT):
        self.path, self.env, self.script = path, env, script

    def git(self, *arguments, **options):
        return run(
            "git",
            *arguments,
            env=options.pop("env", self.env),
            cwd=options.pop("cwd", self.path),
            **options,
        )

    def nbdime_git(self, *arguments, **options):
        return run(
            sys.executable,
            self.script,
            *arguments,
            env=options.pop("env", self.env),
            cwd=options.pop("cwd", self.path),
            **options,
        )

    def write(self, **files):
        for name, content in files.items():
            (self.path / f"{name}.ipynb").write_text(content)

    def commit(self, message="change"):
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def readable(self, *arguments, **options):
        return self.git(*arguments, env=self.env | {"NBDIME_GIT_READABLE": "1"}, **options)

    def branches(self, base, ours, theirs, name="nb"):
        """main has `ours`, other has `theirs`, both from `base` (None: both made it anew), in one
        notebook.
        """
        if base is not None:
            self.write(**{name: base})
            self.commit("base")
        self.git("checkout", "-qb", "other")
        self.write(**{name: theirs})
        self.commit("theirs")
        self.git("checkout", "-q", "-")
        self.write(**{name: ours})
        self.commit("ours")

    def state(self):
        """Everything that enable may touch, as bytes."""
        folder = Path(self.git("rev-parse", "--git-common-dir").stdout.strip())
        folder = folder if folder.is_absolute() else self.path / folder
        return {
            str(file): file.read_bytes()
            for file in (folder / "config", folder / "info/attributes")
            if file.exists()
        }


@pytest.fixture
def bare_bones(tmp_path, env):
    """A repository with nb.ipynb in it, nothing enabled."""
    path = tmp_path / "repo"
    run("git", "init", "-q", path, env=env, cwd=tmp_path)
    repo = Repo(path, env)
    repo.write(nb=ONE)
    repo.commit("first")
    return repo


@pytest.fixture
def repo(bare_bones, environment):
    """The same, enabled."""
    bare_bones.nbdime_git("enable", "--prefix", environment)
    return bare_bones


@pytest.fixture
def movable(tmp_path, environment):
    """An environment that can go away: a link to the real one."""
    link = tmp_path / "movable-env"
    link.symlink_to(environment)
    return link


def on_terminal(command, env, cwd, stdin=b""):
    """What a command shows on a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command, env=env, cwd=cwd, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    if stdin:
        os.write(master, stdin)
    shown = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(master)
    assert process.wait(60) == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


def assert_is_readable(text):
    assert "## modified /cells/0/source" in text and "radius = 2" in text, text
    assert '"source": [' not in text and "cell_type" not in text


def assert_one_sentence(done, *words):
    assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("nbdime-git: ") and lines[0].endswith("."), (
        done.stderr
    )
    for word in words:
        assert str(word) in lines[0], lines[0]


# ------------------------------------------------------------------ enable, disable, status


def test_help_is_the_docstring():
    shown = subprocess.run(
        [sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert (
        shown.startswith("Readable diffs and safe merges") and shown.strip() in SCRIPT.read_text()
    )
    assert subprocess.run([sys.executable, SCRIPT, "repair"], capture_output=True).returncode == 2


def test_status_tells_enabled_from_not_enabled(bare_bones, environment):
    before = bare_bones.nbdime_git("status", ok=False)
    assert before.returncode == 1 and "is not enabled" in before.stdout
    bare_bones.nbdime_git("enable", "--prefix", environment)
    after = bare_bones.nbdime_git("status")
    assert (
        "is enabled" in after.stdout
        and "nbdime 4.0.4" in after.stdout
        and "problem" not in after.stdout
    )


def test_the_environment_is_found_beside_the_python_that_runs_it(bare_bones, environment):
    run(environment / "bin/python", SCRIPT, "enable", env=bare_bones.env, cwd=bare_bones.path)
    assert (
        str(environment / "bin") in bare_bones.git("config", "diff.jupyternotebook.command").stdout
    )


@pytest.fixture
def without_nbdime(tmp_path):
    """A copy of the command, in a folder with no facts, and a Python that has no nbdime."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", tmp_path / "no-nbdime"], check=True
    )
    (tmp_path / "centre/bin").mkdir(parents=True)
    script = shutil.copy(SCRIPT, tmp_path / "centre/bin")
    return [tmp_path / "no-nbdime/bin/python", script]


def test_the_environment_is_found_by_variable_or_by_the_facts(
    bare_bones, without_nbdime, movable, tmp_path
):
    env = bare_bones.env
    before = bare_bones.state()
    assert_one_sentence(
        run(*without_nbdime, "enable", env=env, cwd=bare_bones.path, ok=False),
        "has no nbdime",
        "--prefix DIR",
    )
    assert bare_bones.state() == before
    run(
        *without_nbdime,
        "enable",
        env=env | {"NBDIME_GIT_PREFIX": str(movable)},
        cwd=bare_bones.path,
    )
    enabled = bare_bones.state()
    assert str(movable).encode() in b"".join(enabled.values())
    assert (
        run(*without_nbdime, "status", env=env, cwd=bare_bones.path).stdout.count(str(movable)) == 1
    )
    run(*without_nbdime, "disable", env=env, cwd=bare_bones.path)
    (tmp_path / "centre/facts.toml").write_text(f'[paths]\njupyter_env = "{movable}"\n')
    run(*without_nbdime, "enable", env=env, cwd=bare_bones.path)
    assert bare_bones.state() == enabled
    (tmp_path / "centre/facts.toml").write_text('[paths]\njupyter_env = "/no/such/env"\n')
    assert_one_sentence(
        run(*without_nbdime, "enable", env=env, cwd=bare_bones.path, ok=False),
        "facts.toml",
        "/no/such/env",
    )
    assert bare_bones.state() == enabled


def test_enabling_twice_changes_no_byte(repo, environment):
    once = repo.state()
    times = {file: os.stat(file).st_mtime_ns for file in once}
    repo.nbdime_git("enable", "--prefix", environment)
    assert repo.state() == once and {file: os.stat(file).st_mtime_ns for file in once} == times


BEFORE = {
    "nothing": (b"", None),
    "attributes": (b"", b"*.csv text\n*.ipynb -diff\n"),
    "attributes without a final newline": (b"", b"*.csv text"),
    "attributes that are not UTF-8": (b"", b"*.f\xe5\xe4 text\r\n# \xff\xfe\n"),
    "empty attributes": (b"", b""),
    "the very same rule": (b"", b"*.ipynb diff=jupyternotebook merge=jupyternotebook\n"),
    "config without a final newline": (b"[alias]\n\tst = status", None),
    "a comment at the end": (b"[alias]\n\tst = status\n# keep this\n", None),
    "CRLF": (b"[alias]\r\n\tst = status\r\n", None),
    "own values, some twice": (
        b'[diff "jupyternotebook"]\n\tcommand = mine --one # why\n    command="mine; '
        b'two"\n\ttextconv = cat\n'
        b'; a remark\n[merge "jupyternotebook"]\n\tdriver = true\n\n[mergetool "nbdime"]\n'
        b"\ttrustExitCode = false\n"
        b'\tcmd = other\n[diff "jupyternotebook"]\n\txfuncname = x\n',
        b"*.ipynb diff=mine\n",
    ),
    "own tools and prompts": (
        b"[merge]\n\ttool = vimdiff\n[diff]\n\ttool = meld\n[mergetool]\n\tprompt = true\n"
        b"[difftool]\n\tprompt = true\n",
        None,
    ),
    "a remote called git-nb": (
        b'[remote "git-nb"]\n\turl = ssh://host/git-nbdiffdriver diff.git\n[alias]\n'
        b"\tgit-nb = !git-nbdiff\n",
        None,
    ),
}


@pytest.mark.claims("Put everything back as it was, your own earlier settings included:")
@pytest.mark.parametrize("before", BEFORE)
def test_disable_puts_back_every_byte(bare_bones, environment, before):
    config, attributes = bare_bones.path / ".git/config", bare_bones.path / ".git/info/attributes"
    config.write_bytes(config.read_bytes() + BEFORE[before][0])
    config.chmod(0o640)
    attributes.unlink(missing_ok=True)
    if BEFORE[before][1] is not None:
        attributes.write_bytes(BEFORE[before][1])
    state = bare_bones.state()
    told = bare_bones.git("config", "--list", "--local").stdout
    bare_bones.nbdime_git("enable", "--prefix", environment)
    assert bare_bones.state() != state
    assert all(
        line in bare_bones.git("config", "--list", "--local").stdout for line in told.splitlines()
    )
    bare_bones.write(nb=TWO)
    assert_is_readable(bare_bones.readable("diff").stdout)
    bare_bones.nbdime_git("enable", "--prefix", environment)
    bare_bones.nbdime_git("disable")
    assert bare_bones.state() == state
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert (
        "nothing to do" in bare_bones.nbdime_git("disable").stdout and bare_bones.state() == state
    )


def test_linked_files_stay_links(bare_bones, environment, tmp_path):
    for name in ("config", "info/attributes"):
        file, target = bare_bones.path / ".git" / name, tmp_path / name.replace("/", "-")
        target.write_bytes(file.read_bytes() if file.exists() else b"*.csv text\n")
        file.unlink(missing_ok=True)
        file.symlink_to(target)
    state = bare_bones.state()
    bare_bones.nbdime_git("enable", "--prefix", environment)
    bare_bones.write(nb=TWO)
    assert_is_readable(bare_bones.readable("diff").stdout)
    bare_bones.nbdime_git("disable")
    assert bare_bones.state() == state
    assert all(
        (bare_bones.path / ".git" / name).is_symlink() for name in ("config", "info/attributes")
    )


@pytest.mark.claims(
    "Run ``nbdime-git enable`` in that repository; it takes over.",
    "They also wrote two lines into ``.gitattributes``, which git tracks; these do no harm.",
)
def test_the_old_recipe_is_repaired_and_reported(bare_bones, environment):
    """Its line in a tracked file is reported.

    What the page used to say: nbdime config-git --enable, then sed.
    """
    with_path = bare_bones.env | {"PATH": f"{environment}/bin:{bare_bones.env['PATH']}"}
    run(environment / "bin/nbdime", "config-git", "--enable", env=with_path, cwd=bare_bones.path)
    config = bare_bones.path / ".git/config"
    config.write_text(config.read_text().replace("git-nb", "/moved/away/git-nb"))
    bare_bones.commit("tracked attributes")
    tracked = (bare_bones.path / ".gitattributes").read_bytes()
    assert len([line for line in tracked.splitlines() if line]) == 2
    state = bare_bones.state()
    bare_bones.write(nb=TWO)
    assert bare_bones.git("diff", ok=False).returncode == 128
    told = bare_bones.nbdime_git("status", ok=False)
    assert told.returncode == 1 and "/moved/away/git-nbdiffdriver" in told.stdout
    bare_bones.nbdime_git("enable", "--prefix", environment)
    assert_is_readable(bare_bones.readable("diff").stdout)
    assert "line 2 of .gitattributes" in bare_bones.nbdime_git("status").stdout
    assert (bare_bones.path / ".gitattributes").read_bytes() == tracked
    assert "As before" in bare_bones.nbdime_git("disable").stdout and bare_bones.state() == state


@pytest.mark.claims(
    "And when the environment is gone, such a merge leaves your side alone in the file, "
    "without a mark.",
    "git would go on calling it, and a merge would leave your side alone in the file.",
)
def test_nbdimes_own_settings_leave_one_side_when_it_has_gone(bare_bones, environment):
    """What `nbdime config-git --enable` writes: git says that there is a conflict, and no mark
    shows where.
    """
    with_path = bare_bones.env | {"PATH": f"{environment}/bin:{bare_bones.env['PATH']}"}
    run(
        environment / "bin/nbdime",
        "config-git",
        "--enable",
        "--global",
        env=with_path,
        cwd=bare_bones.path,
    )
    bare_bones.branches(
        BASE, code("a = 'ours'", "b = 1", "c = 1"), code("a = 1", "b = 'theirs'", "c = 1")
    )
    without = bare_bones.git("merge", "other", ok=False)
    assert without.returncode == 1 and "CONFLICT" in without.stdout
    assert sources(bare_bones.path / "nb.ipynb") == ["a = 'ours'", "b = 1", "c = 1"]
    bare_bones.git("merge", "--abort")
    run(
        environment / "bin/nbdime",
        "config-git",
        "--disable",
        "--global",
        env=with_path,
        cwd=bare_bones.path,
    )
    (bare_bones.path / ".git/info/attributes").unlink(missing_ok=True)
    assert "jupyternotebook" not in bare_bones.git("config", "--list").stdout


def test_an_environment_that_moved_is_repaired_by_enabling_again(bare_bones, movable, tmp_path):
    bare_bones.nbdime_git("enable", "--prefix", movable)
    movable.rename(tmp_path / "elsewhere")
    told = bare_bones.nbdime_git("status", ok=False)
    assert told.returncode == 1 and "has gone" in told.stdout and HINT in told.stdout
    assert_one_sentence(bare_bones.nbdime_git("enable", "--prefix", movable, ok=False), movable)
    bare_bones.nbdime_git(
        "enable", "--prefix", "../elsewhere"
    )  # a relative folder is meant from here
    bare_bones.write(nb=TWO)
    (bare_bones.path / "sub").mkdir()
    assert_is_readable(bare_bones.readable("diff", cwd=bare_bones.path / "sub").stdout)
    shown = bare_bones.git("config", "--list").stdout
    assert str(movable) not in shown and re.search(
        rf"py='?{re.escape(str(tmp_path))}/elsewhere/bin/", shown
    )


@pytest.mark.claims(
    "**Often:** people enable it in one repository and miss it in the next. It is one "
    "command for each."
)
@pytest.mark.claims(
    "A clone is a new repository, and settings are not cloned: enable it there as well, "
    "or once for all of yours:"
)
def test_global_settings_are_for_all_and_go_without_a_trace(bare_bones, environment, env, tmp_path):
    """They are for every repository of the user."""
    config, attributes = (
        Path(env["HOME"], ".gitconfig"),
        Path(env["HOME"], ".config/git/attributes"),
    )
    before = config.read_bytes()
    bare_bones.nbdime_git("enable", "--prefix", environment)
    clone = Repo(tmp_path / "clone", env)
    run("git", "clone", "-q", bare_bones.path, clone.path, env=env, cwd=tmp_path)
    clone.write(nb=TWO)
    assert (
        bare_bones.nbdime_git("status").returncode == 0
        and clone.nbdime_git("status", ok=False).returncode == 1
    )
    assert clone.readable("diff").stdout == clone.git(*NATIVE).stdout
    bare_bones.nbdime_git("disable")
    bare_bones.nbdime_git(
        "enable", "--global", "--prefix", environment, cwd=tmp_path
    )  # not in a repository
    bare_bones.write(nb=TWO)
    assert_is_readable(bare_bones.readable("diff").stdout)
    assert_is_readable(clone.readable("diff").stdout)
    assert bare_bones.nbdime_git("status", "--global", cwd=tmp_path).returncode == 0
    assert bare_bones.nbdime_git("status").returncode == 0
    bare_bones.nbdime_git("disable", "--global", cwd=tmp_path)
    assert config.read_bytes() == before and not attributes.exists()
    new = env | {"GIT_CONFIG_GLOBAL": str(tmp_path / "new-config")}
    bare_bones.nbdime_git("enable", "--global", "--prefix", environment, env=new)
    bare_bones.nbdime_git("enable", "--global", "--prefix", environment, env=new)
    bare_bones.nbdime_git("disable", "--global", env=new)
    assert not (tmp_path / "new-config").exists() and not attributes.exists()
    config.write_bytes(before + b"[core]\n\tattributesFile = ~/my attributes\n")
    bare_bones.nbdime_git("enable", "--global", "--prefix", environment)
    assert_is_readable(bare_bones.readable("diff").stdout)
    assert b"jupyternotebook" in Path(env["HOME"], "my attributes").read_bytes()


# ------------------------------------------------------------------ every kind of repository


def test_a_file_name_that_is_no_text_runs_nothing(repo):
    """It is a name like others.

    A shell that reads words of UTF-8 must not lose its quotes at a byte that is none.
    """
    name = b"\xff;touch made;.ipynb"
    Path(os.fsdecode(os.fsencode(repo.path) + b"/" + name)).write_text(ONE)
    repo.write(nb=TWO)
    repo.git("diff", "--", "nb.ipynb", os.fsdecode(name), errors="replace")
    assert not (repo.path / "made").exists()


@pytest.mark.parametrize("name", AWKWARD)
def test_any_path_will_do(tmp_path, env, environment, name):
    """The repository, the environment and the command itself: each under an awkward name."""
    (tmp_path / name).mkdir()
    link = tmp_path / name / "env"
    link.symlink_to(environment)
    script = shutil.copy(SCRIPT, tmp_path / name / f"nbdime-git {name}")
    path = tmp_path / name / "repo"
    run("git", "init", "-q", path, env=env, cwd=tmp_path)
    repo = Repo(path, env, script)
    base, ours, theirs = (
        code("a = 1", "b = 1", "c = 1"),
        code("a = 2", "b = 1", "c = 1"),
        code("a = 1", "b = 1", "c = 3"),
    )
    odd = path / f"{name}.ipynb"
    repo.branches(base, ours, theirs, odd.stem)
    repo.nbdime_git("enable", "--prefix", link)
    merged = repo.git("merge", "other")
    assert sources(odd) == ["a = 2", "b = 1", "c = 3"] and "nbdime-git" not in merged.stderr
    odd.write_text(ONE)
    repo.commit()
    odd.write_text(TWO)
    shown = repo.readable("diff")
    assert_is_readable(shown.stdout)
    assert f"a/{name}.ipynb" in shown.stdout and not shown.stderr
    assert repo.git("diff").stdout == repo.git(*NATIVE).stdout
    tool = repo.git("difftool", "--no-prompt", "--tool=nbdime")
    assert_is_readable(tool.stdout)
    assert (
        repo.git("show", env=env | {"NBDIME_GIT_READABLE": "1"}).stdout.count(" %% [code]\n-") == 3
    )


def test_a_linked_worktree_gets_the_same(repo, environment, tmp_path):
    repo.git("worktree", "add", "-q", "../tree", "-b", "tree")
    (tmp_path / "tree/nb.ipynb").write_text(TWO)
    assert_is_readable(repo.readable("diff", cwd=tmp_path / "tree").stdout)
    state = repo.state()
    repo.nbdime_git("disable", cwd=tmp_path / "tree")
    assert repo.state() != state and "nbdime" not in repo.git("config", "--list").stdout
    repo.nbdime_git("enable", "--prefix", environment, cwd=tmp_path / "tree")
    assert repo.state() == state


def test_a_submodule_can_be_enabled(bare_bones, environment, tmp_path):
    run("git", "init", "-q", "above", env=bare_bones.env, cwd=tmp_path)
    above = Repo(tmp_path / "above", bare_bones.env)
    above.git(
        "-c", "protocol.file.allow=always", "submodule", "add", "-q", bare_bones.path, "below"
    )
    below = Repo(tmp_path / "above/below", bare_bones.env)
    untouched = above.state()
    below.nbdime_git("enable", "--prefix", environment)
    below.write(nb=TWO)
    assert_is_readable(below.readable("diff").stdout)
    assert above.state() == untouched


def test_a_bare_repository_can_be_enabled(bare_bones, environment, tmp_path):
    bare_bones.write(nb=TWO)
    bare_bones.commit()
    run(
        "git",
        "clone",
        "-q",
        "--bare",
        bare_bones.path,
        "bare.git",
        env=bare_bones.env,
        cwd=tmp_path,
    )
    bare = Repo(tmp_path / "bare.git", bare_bones.env)
    bare.nbdime_git("enable", "--prefix", environment)
    assert bare.nbdime_git("status").returncode == 0
    assert_is_readable(bare.readable("diff", "HEAD~", "HEAD").stdout)
    assert (
        bare.git("diff", "HEAD~", "HEAD").stdout == bare.git(*NATIVE, "HEAD~", "HEAD").stdout != ""
    )


def test_git_dir_is_obeyed(bare_bones, environment, tmp_path):
    env = bare_bones.env | {
        "GIT_DIR": str(bare_bones.path / ".git"),
        "GIT_WORK_TREE": str(bare_bones.path),
    }
    bare_bones.nbdime_git("enable", "--prefix", environment, env=env, cwd=tmp_path)
    bare_bones.write(nb=TWO)
    assert_is_readable(
        bare_bones.git("diff", env=env | {"NBDIME_GIT_READABLE": "1"}, cwd=tmp_path).stdout
    )
    relative = bare_bones.env | {"GIT_DIR": ".git", "NBDIME_GIT_READABLE": "1"}
    assert_is_readable(bare_bones.git("diff", env=relative).stdout)
    assert (
        bare_bones.git("diff", env=env, cwd=tmp_path).stdout
        == bare_bones.git(*NATIVE, env=env, cwd=tmp_path).stdout
        != ""
    )


def test_settings_included_from_elsewhere_are_respected_or_named(
    bare_bones, environment, env, tmp_path
):
    work = tmp_path / "work.inc"
    work.write_text('[diff "jupyternotebook"]\n\tcommand = echo from-the-include\n')
    mine = Path(env["HOME"], ".gitconfig")
    mine.write_text(mine.read_text() + f'[includeIf "gitdir:{tmp_path}/"]\n\tpath = {work}\n')
    bare_bones.nbdime_git(
        "enable", "--prefix", environment
    )  # the repository's own settings come later: they count
    bare_bones.write(nb=TWO)
    assert_is_readable(bare_bones.readable("diff").stdout)
    bare_bones.nbdime_git("disable")
    bare_bones.git("config", "include.path", str(work))  # now the include stands last in the file
    bare_bones.git("config", "diff.jupyternotebook.command", "echo earlier")
    config = bare_bones.path / ".git/config"
    config.write_text(
        config.read_text().replace(f"[include]\n\tpath = {work}\n", "")
        + f"[include]\n\tpath = {work}\n"
    )
    state = bare_bones.state()
    refused = bare_bones.nbdime_git("enable", "--prefix", environment, ok=False)
    assert_one_sentence(refused, work, "diff.jupyternotebook.command")
    assert bare_bones.state() == state


# ------------------------------------------------------------------ what can go wrong changes
# nothing


def test_outside_a_repository_it_says_so(env, environment, tmp_path):
    for what in (["enable", "--prefix", environment], ["disable"], ["status"]):
        assert_one_sentence(
            run(sys.executable, SCRIPT, *what, env=env, cwd=tmp_path, ok=False),
            "not in a git repository",
        )


@pytest.mark.claims(
    "Git may refuse with ``dubious ownership``, since the folder belongs to somebody "
    "else. That is git's own caution; it names "
    "the command that tells it to trust this folder."
)
def test_dubious_ownership_is_explained(bare_bones, environment):
    state = bare_bones.state()
    env = bare_bones.env | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}  # git's own switch for this
    done = bare_bones.nbdime_git("enable", "--prefix", environment, env=env, ok=False)
    assert_one_sentence(done, "safe.directory", bare_bones.path)
    said = bare_bones.git("status", env=env, ok=False).stderr
    assert (
        "dubious ownership" in said
        and f"git config --global --add safe.directory {bare_bones.path}" in said
    )
    assert bare_bones.state() == state


def test_no_nbdime_no_change(bare_bones, tmp_path):
    state = bare_bones.state()
    assert_one_sentence(
        bare_bones.nbdime_git("enable", "--prefix", tmp_path / "nowhere", ok=False),
        "there is no bin/python",
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty"], check=True)
    assert_one_sentence(
        bare_bones.nbdime_git("enable", "--prefix", tmp_path / "empty", ok=False),
        "cannot import nbdime",
    )
    assert bare_bones.state() == state


def test_global_without_a_home_is_explained(env, environment, tmp_path):
    env.pop("HOME")
    done = run(
        sys.executable,
        SCRIPT,
        "enable",
        "--global",
        "--prefix",
        environment,
        env=env,
        cwd=tmp_path,
        ok=False,
    )
    assert_one_sentence(done, "HOME is not set")


def test_a_device_is_never_replaced(env, environment, tmp_path):
    """GIT_CONFIG_GLOBAL=/dev/null is a common way to have no settings."""
    null = tmp_path / "null"
    os.mkfifo(null)  # a stand-in that is no file either: the test must not risk the machine's own
    for where in (
        {"GIT_CONFIG_GLOBAL": str(null)},
        {"GIT_CONFIG_COUNT": "0", "XDG_CONFIG_HOME": str(tmp_path / "xdg")},
    ):
        if "XDG_CONFIG_HOME" in where:
            (tmp_path / "xdg/git/attributes").mkdir(parents=True)
        done = run(
            sys.executable,
            SCRIPT,
            "enable",
            "--global",
            "--prefix",
            environment,
            env=env | where,
            cwd=tmp_path,
            ok=False,
            timeout=10,
        )
        assert_one_sentence(done, "is not a file")
    assert null.is_fifo()


def test_git_missing_is_explained(env, environment, tmp_path):
    done = run(
        sys.executable, SCRIPT, "enable", env=env | {"PATH": str(tmp_path)}, cwd=tmp_path, ok=False
    )
    assert_one_sentence(done, "git is not installed")


def test_a_lock_of_another_git_is_waited_for_by_the_person(bare_bones, environment):
    state = bare_bones.state()
    lock = bare_bones.path / ".git/config.lock"
    lock.touch()
    assert_one_sentence(
        bare_bones.nbdime_git("enable", "--prefix", environment, ok=False), "another git", lock
    )
    assert bare_bones.state() == state and lock.exists()
    lock.unlink()
    bare_bones.nbdime_git("enable", "--prefix", environment)
    assert not list((bare_bones.path / ".git").rglob("*nbdime-git*")) and not lock.exists()


@pytest.mark.parametrize(
    ("pid", "host", "gone"),
    [
        ("ended", os.uname().nodename, True),
        ("this", os.uname().nodename, False),
        ("ended", "elsewhere", False),
    ],
)
def test_only_the_lock_of_a_killed_run_is_taken_away(bare_bones, environment, pid, host, gone):
    """That of a living one stays, and so does that of another host."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    lock = bare_bones.path / ".git/config.lock"
    lock.write_text(f"nbdime-git {ended.pid if pid == 'ended' else os.getpid()} {host}")
    done = bare_bones.nbdime_git("enable", "--prefix", environment, ok=gone)
    assert lock.exists() is not gone and (done.returncode == 0) is gone


def test_a_broken_config_is_explained(bare_bones, environment):
    config = bare_bones.path / ".git/config"
    env = bare_bones.env | {"GIT_CONFIG_GLOBAL": str(config.parent / "broken")}
    Path(env["GIT_CONFIG_GLOBAL"]).write_text("[core\n")
    done = bare_bones.nbdime_git("enable", "--global", "--prefix", environment, env=env, ok=False)
    assert_one_sentence(done, "bad config line 1", "broken")


def as_nobody(command):
    return [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        *map(str, command),
    ]


def readable_python(environment, folder):
    """A Python of the same version as the environment's that any user may run, with its packages;
    None if there is none.
    """
    version = run(
        environment / "bin/python",
        "-c",
        "import sys; print('python%d.%d' % sys.version_info[:2])",
        env=os.environ,
        cwd="/",
    ).stdout.strip()
    packages = environment / "lib" / version / "site-packages"
    for python in (shutil.which(version, path="/usr/bin:/usr/local/bin"), sys.executable):
        if (
            python
            and run(*as_nobody([python, "-c", "import ssl"]), env={}, cwd="/", ok=False).returncode
            == 0
            and run(
                *as_nobody(["test", "-r", packages / "nbdime"]), env={}, cwd="/", ok=False
            ).returncode
            == 0
            and run(python, "-V", env={}, cwd="/")
            .stdout.split()[1]
            .startswith(version.removeprefix("python") + ".")
        ):
            subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
            (folder / "lib" / version / "site-packages/packages.pth").write_text(f"{packages}\n")
            return folder
    return None


@pytest.fixture
def second_user(environment):
    """A folder that another user can read, with an environment and a copy of the command."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("a second user needs root and setpriv")
    folder = Path(tempfile.mkdtemp(prefix="second-user-"))
    try:
        folder.chmod(0o755)
        env = readable_python(environment, folder / "env")
        if env is None:
            pytest.skip(
                "no Python of the environment's version, or not the environment, can be "
                "read by another user"
            )
        shutil.copy(SCRIPT, folder)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def umask(mode):
    """While it lasts, files of this process are made with this umask."""
    before = os.umask(mode)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.claims(
    "Enable it once. The settings are in the repository's own ``.git/config`` and "
    "``.git/info/attributes``, with paths that "
    "everyone on {{ cluster.name }} can read, so they hold for every member who works in "
    "that folder. Nothing goes into a file "
    "that git tracks: who clones it elsewhere notices nothing."
)
def test_another_member_of_the_group_gets_the_same(second_user, env, tmp_path):
    """Another user, another umask, another folder, no HOME, no environment loaded; they set it up,
    we too.
    """
    path = second_user / "shared"
    run("git", "init", "-q", "--shared=group", path, env=env, cwd=second_user)
    for folder, _, _ in os.walk(path):
        os.chown(folder, -1, NOBODY)
        os.chmod(folder, 0o2775)
    repo = Repo(path, env, second_user / "nbdime-git")
    repo.branches(
        code("a = 1", "b = 1", "c = 1"),
        code("a = 2", "b = 1", "c = 1"),
        code("a = 1", "b = 1", "c = 3"),
    )
    for file in path.rglob("*"):
        os.chown(file, -1, NOBODY)
    shutil.rmtree(path / ".git/info")
    with umask(0o077):
        repo.nbdime_git("enable", "--prefix", second_user / "env")
    assert repo.git("status", "--porcelain").stdout == "" and set(repo.state()) == {
        f"{path}/.git/config",
        f"{path}/.git/info/attributes",
    }
    run("git", "clone", "-q", path, second_user / "elsewhere", env=env, cwd=second_user)
    assert (
        "jupyternotebook"
        not in run("git", "config", "--list", env=env, cwd=second_user / "elsewhere").stdout
    )
    other = {
        "PATH": env["PATH"],
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_CONFIG_NOSYSTEM": "1",
        "NBDIME_GIT_READABLE": "1",
    }
    name = {f"GIT_{who}_NAME": "B" for who in ("AUTHOR", "COMMITTER")}
    name |= {f"GIT_{who}_EMAIL": "b@example.org" for who in ("AUTHOR", "COMMITTER")}
    shown = run(
        *as_nobody(["git", "-C", path, "diff", "other~", "other"]), env=other, cwd="/", umask=0o002
    )
    assert "## modified /cells/2/source" in shown.stdout and not shown.stderr
    run(*as_nobody(["git", "-C", path, "merge", "other"]), env=other | name, cwd="/", umask=0o002)
    assert sources(path / "nb.ipynb") == ["a = 2", "b = 1", "c = 3"]
    tool = [second_user / "env/bin/python3", second_user / "nbdime-git"]
    run(*as_nobody([*tool, "disable"]), env=other, cwd=path, umask=0o027)
    run(*as_nobody([*tool, "enable"]), env=other, cwd=path, umask=0o077)
    assert repo.nbdime_git("status").returncode == 0
    assert (path / ".git/info/attributes").stat().st_mode & 0o060 == 0o060


def test_without_permission_nothing_changes(second_user, env):
    path = second_user / "not-yours"
    run("git", "init", "-q", path, env=env, cwd=second_user)
    state = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    other = {
        "PATH": env["PATH"],
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    command = as_nobody([second_user / "env/bin/python3", second_user / "nbdime-git", "enable"])
    assert_one_sentence(
        run(*command, env=other, cwd=path, ok=False), f"no permission to write {path}/.git/config."
    )
    os.chown(path / ".git", NOBODY, NOBODY)  # the config can be written now, the attributes cannot
    assert_one_sentence(run(*command, env=other, cwd=path, ok=False), "no permission")
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == state


def test_a_full_disk_changes_nothing(bare_bones, environment, tmp_path):
    """On a real, small, full file system if we may mount one; else with a limit on the size of
    files.
    """
    state = bare_bones.state()
    config = (bare_bones.path / ".git/config").stat().st_size

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (config + 2000, config + 2000))

    done = bare_bones.nbdime_git("enable", "--prefix", environment, ok=False, preexec_fn=limit)
    assert_one_sentence(done)
    assert bare_bones.state() == state and not list(
        (bare_bones.path / ".git").rglob("*nbdime-git*")
    )
    mount = tmp_path / "small"
    mount.mkdir()
    done = run(
        *("unshare", "--mount", "bash", DATA / "full_disk.sh", mount, tmp_path / "config"),
        *(sys.executable, SCRIPT, environment),
        env=bare_bones.env,
        cwd=tmp_path,
        ok=False,
    )
    if done.returncode != 77 and "unshare failed" not in done.stderr:
        assert_one_sentence(done, "No space left on device")


def test_a_run_killed_at_any_moment_is_repaired_by_the_next(bare_bones, environment):
    state = bare_bones.state()
    bare_bones.write(nb=TWO)
    bare_bones.nbdime_git("enable", "--prefix", environment)
    enabled = bare_bones.state()
    begun = time.monotonic()
    bare_bones.nbdime_git("disable")
    duration = max(time.monotonic() - begun, 0.1)
    seen = set()
    for number in range(16):
        command = "enable" if number % 2 else "disable"
        process = subprocess.Popen(
            [
                sys.executable,
                SCRIPT,
                *(["enable", "--prefix", environment] if command == "enable" else ["disable"]),
            ],
            env=bare_bones.env,
            cwd=bare_bones.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(duration * (0.3 + number / 16))
        process.send_signal(signal.SIGKILL if number % 4 < 2 else signal.SIGTERM)
        seen.add(process.wait())
        assert "radius = 2" in bare_bones.git("diff").stdout
        bare_bones.nbdime_git("enable", "--prefix", environment)
        assert bare_bones.state() == enabled
    assert seen - {0}, "no run was hit"
    bare_bones.nbdime_git("disable")
    assert bare_bones.state() == state


@pytest.mark.parametrize("kill", ["TERM", "KILL"])
def test_a_run_killed_late_takes_files_back_or_leaves_no_lock(
    bare_bones, environment, tmp_path, kill
):
    """It is killed when the new files are in their places."""
    state = bare_bones.state()
    (tmp_path / "bin").mkdir()
    git = (
        tmp_path / "bin/git"
    )  # the real git, but the first look at the result is the end of who looks
    git.write_text(
        f'#!/bin/sh\ncase "$*" in *--show-origin*) kill -{kill} $PPID; sleep 0.2;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    git.chmod(0o755)
    env = bare_bones.env | {"PATH": f"{tmp_path}/bin:{bare_bones.env['PATH']}"}
    assert (
        bare_bones.nbdime_git("enable", "--prefix", environment, env=env, ok=False).returncode != 0
    )
    if kill == "TERM":
        assert bare_bones.state() == state and not list(
            (bare_bones.path / ".git").rglob("*nbdime-git*")
        )
    else:
        assert bare_bones.state() != state
    bare_bones.nbdime_git("enable", "--prefix", environment)
    bare_bones.nbdime_git("disable")
    assert bare_bones.state() == state


# ------------------------------------------------------------------ diff


@pytest.mark.claims("One command makes ``git diff``")
@pytest.mark.claims(
    "Now ``git diff`` shows what changed in a notebook cell by cell,",
    "``git diff`` - on a terminal, changed cells and outputs; in a pipe or file, a normal patch",
)
def test_on_a_terminal_git_diff_is_readable_and_coloured(repo):
    """As git is told to colour it."""
    repo.write(nb=TWO)
    for pager in ("cat", "sed ''"):
        env = repo.env | {"GIT_PAGER": pager}
        shown = on_terminal(["git", "diff"], env, repo.path)
        assert_is_readable(shown)
        assert "\x1b[" in shown
        shown = on_terminal(["git", "-c", "color.diff=false", "diff"], env, repo.path)
        assert_is_readable(shown)
        assert "\x1b[" not in shown
        assert '"source": [' in on_terminal(
            ["git", "diff"], env | {"NBDIME_GIT_READABLE": "0"}, repo.path
        )
    assert repo.git("diff").stdout == repo.git(*NATIVE).stdout != "", "in a pipe"
    repo.write(
        nb=code("import math\nradius = 1", "print(radius)", "1 + 1", outputs={1: FIGURE[:1]})
    )
    assert "/cells/1/outputs" in on_terminal(
        ["git", "diff"], repo.env | {"GIT_PAGER": "cat"}, repo.path
    )
    assert "\x1b[" not in repo.readable("diff").stdout
    assert "\x1b[" in repo.readable("-c", "color.ui=always", "diff").stdout


@pytest.mark.claims("Into a file or a pipe git still writes a patch, which others can apply:")
@pytest.mark.claims(
    "The second command says nothing: the patch fits. It is a normal patch, which ``git "
    "apply`` takes, also where nobody has nbdime."
)
def test_a_redirected_diff_is_gits_own_patch_and_applies(repo):
    """Every kind of change: modes, new and deleted notebooks, renames, copies, odd names, folders,
    other files.
    """
    odd = {'it\'s ü "q"', "-dash", "a,comma", "tab\there", "star*", "per%cent"}
    (repo.path / "deep/er").mkdir(parents=True)
    repo.write(
        **{name: ONE for name in odd | {"mode", "gone", "deep/er/in", "old-name", "original"}}
    )
    (repo.path / "other.txt").write_text("one\n")
    repo.commit()
    repo.write(**{name: TWO for name in odd | {"nb", "mode", "deep/er/in", "fresh"}})
    (repo.path / "mode.ipynb").chmod(0o755)
    (repo.path / "gone.ipynb").unlink()
    (repo.path / "other.txt").write_text("two\n")
    repo.git("mv", "old-name.ipynb", "deep/new-name.ipynb")
    (repo.path / "deep/new-name.ipynb").write_text(TWO)
    repo.write(original=TWO, copy=TWO)
    repo.git("add", "-A")
    for arguments in (
        ["HEAD"],
        ["--cached", "-C", "-C"],
        ["HEAD", "--no-renames"],
        ["HEAD", "--relative=deep"],
        ["HEAD", "--", "deep"],
    ):
        assert repo.git("diff", *arguments).stdout == repo.git(*NATIVE, *arguments).stdout != "", (
            arguments
        )
    assert repo.git("-c", "color.ui=always", "diff", "HEAD").stdout.count("\x1b[") == repo.git(
        "-c", "color.ui=always", "diff", "HEAD", "--no-ext-diff", "--", "other.txt"
    ).stdout.count("\x1b[")
    said = repo.git("apply", "--cached", "--check", "-R", input=repo.git("diff", "HEAD").stdout)
    assert said.stdout == said.stderr == ""
    repo.git("apply", "--cached", "--check", input=repo.git("diff", "HEAD", "-R").stdout)
    patch = repo.path.parent / "p.patch"
    sub = repo.path / "deep"
    patch.write_text(
        repo.git("-c", "diff.noprefix=true", "diff", "HEAD", "--", ":/", cwd=sub).stdout
    )
    expected = repo.git("ls-files", "-s").stdout
    repo.git("reset", "-q", "--hard")
    repo.git("apply", "-p0", "--index", patch)
    assert repo.git("ls-files", "-s").stdout == expected


SHAPES = [
    "--no-prefix",
    "--no-prefix -R",
    "-R",
    "--src-prefix=old/ --dst-prefix=new/",
    "--src-prefix old/",
    "--line-prefix=>",
    "-U0",
    "-w",
    "-bW",
    "-wR",
    "-B1%",
    "--full-index",
    "--binary --abbrev=20",
    "--word-diff",
    "--color=always",
    "-I radius",
    "--ignore-blank-lines",
    "--stat",
    "-w --stat",
    "-w --name-only",
    "-w --numstat",
    "-S --no-prefix",
    "-D",
    "--relative=sub",
]
SETTINGS = [
    "diff.noprefix=true",
    "diff.mnemonicPrefix=true",
    "diff.srcPrefix=old/",
    "core.quotePath=false",
    "diff.context=1",
    "diff.relative=true",
]


@pytest.fixture
def changed(repo):
    """Some notebooks changed, one only in its spaces, one deleted, one in a folder; and a text
    file.
    """
    names = {"gone", "spaces", 'sub/in ä "q"'}
    (repo.path / "sub").mkdir()
    (repo.path / "text.txt").write_text("one\n")
    repo.write(**{name: ONE for name in names})
    repo.commit()
    repo.write(nb=TWO, spaces=ONE.replace("1 + 1", "1  +  1"), **{'sub/in ä "q"': TWO})
    (repo.path / "gone.ipynb").unlink()
    (repo.path / "text.txt").write_text("two\n")
    return repo


@pytest.mark.claims(
    "It has the shape that your options and settings of git ask for, such as ``git diff "
    "--no-prefix``."
)
def test_a_patch_has_the_shape_that_git_was_asked_for(changed):
    """Each option and setting gives what git gives without a driver: a notebook's part must fit the
    parts of other files.
    """
    for options in SHAPES:
        native = [word for word in NATIVE if word != "--no-color" or "color" not in options]
        assert (
            changed.git("diff", *options.split()).stdout
            == changed.git(*native, *options.split()).stdout
        ), options
    for setting in SETTINGS:
        for compared in ([], ["-R", "HEAD", "--", "."], ["--cached"], ["HEAD~", "HEAD"])[
            : 4 if "mnemonic" in setting else 2
        ]:
            shown = [
                changed.git("-c", setting, *command, *compared, cwd=changed.path / "sub").stdout
                for command in (["diff"], NATIVE)
            ]
            assert shown[0] == shown[1], (setting, compared)
    two = ["HEAD:nb.ipynb", "spaces.ipynb"]
    assert changed.git("diff", *two).stdout == changed.git(*NATIVE, *two).stdout != ""


@pytest.mark.parametrize("folder", [".", "sub"])
def test_a_patch_that_git_writes_itself_has_the_notebooks_in_it(changed, folder):
    for name, command in (("ours", ["diff"]), ("gits", NATIVE)):
        done = changed.git(*command, f"--output={name}", cwd=changed.path / folder)
        assert done.stdout == "" == done.stderr
    assert (
        (changed.path / folder / "ours").read_text()
        == (changed.path / folder / "gits").read_text()
        != ""
    )


def old_git():
    """Whether this git is older than 2.46, the first that asks a driver whether something has
    changed.
    """
    version = subprocess.check_output(["git", "version"], text=True)
    return tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 46)


@pytest.mark.claims(
    "``git diff --no-ext-diff --quiet -w`` compares lines, ignores whitespace, and "
    "returns 1 if something changed. Without "
    "``--no-ext-diff``, a git older than 2.46 cannot return 1 for a changed notebook, "
    "and ends with the error 128."
)
def test_a_changed_notebook_is_never_called_the_same(changed):
    """Git before 2.46 returns 0 after -w and the like whatever a driver says, unless the driver
    fails.
    """
    for options in (
        ["--quiet"],
        ["--exit-code"],
        ["-w", "--quiet"],
        ["-b", "--quiet"],
        ["-I", "x", "--quiet"],
        ["--ignore-blank-lines", "--quiet"],
    ):
        done = changed.git("diff", *options, "--", "nb.ipynb", ok=False)
        blind = old_git() and len(options) > 1 and "blank" not in options[0]
        assert done.returncode == (128 if blind else 1), options
        assert ("nb.ipynb has changed" in done.stderr) == blind and (
            "--quiet" not in options or done.stdout == ""
        ), options
        assert (
            changed.git("diff", *options, "--no-ext-diff", "--", "nb.ipynb", ok=False).returncode
            == 1
        )
    script = ["diff", "--no-ext-diff", "--quiet", "-w", "--"]
    assert [
        changed.git(*script, f"{name}.ipynb", ok=False).returncode for name in ("nb", "spaces")
    ] == [1, 0]
    done = changed.git("diff", "-w", "--exit-code", "--", "nb.ipynb", ok=False)
    assert (done.returncode, "status 1: git diff --no-ext-diff" in done.stderr) == (
        (0, True) if old_git() else (1, False)
    )
    if old_git():
        assert changed.git("diff", "-w", "--quiet", "--", "spaces.ipynb").stderr == ""
    assert changed.readable("diff", "-w", "--", "spaces.ipynb").stdout == ""


def test_filters_and_line_ends_are_as_git_has_them(repo):
    """A clean filter (as nbstripout's) and autocrlf: the work tree is not what git compares."""
    repo.git("config", "filter.upper.clean", "sed s/secret/hidden/")
    (repo.path / ".gitattributes").write_text("*.ipynb filter=upper text eol=crlf\n")
    repo.write(nb=ONE.replace("1 + 1", "secret"))
    repo.commit()
    repo.write(nb=TWO.replace("1 + 1", "secret").replace("\n", "\r\n"))
    assert repo.git("diff").stdout == repo.git(*NATIVE).stdout != ""
    shown = repo.readable("diff").stdout
    assert_is_readable(shown)
    assert "secret" not in shown and "/cells/2" not in shown


@pytest.mark.claims("nbdime compares outputs too, so they can stay.")
def test_what_nbdime_is_told_to_ignore_is_not_shown(repo):
    repo.write(
        nb=ONE.replace(
            '"outputs": []',
            '"outputs": [{"output_type": "stream", "name": "stdout", "text": ["3\\n"]}]',
            1,
        )
    )
    assert "## inserted before /cells/0/outputs/0" in repo.readable("diff").stdout
    (repo.path / "nbdime_config.json").write_text('{"Diff": {"outputs": false}}')
    shown = repo.readable("diff").stdout
    assert "/cells/0/outputs" not in shown and "nothing to show" in shown


@pytest.mark.claims(
    "To read the readable form in a pager or a file, ask for it: ``NBDIME_GIT_READABLE=1 "
    "git diff``."
)
def test_the_user_s_external_diff_does_not_get_in_between(repo):
    repo.git("config", "--global", "diff.external", "false")
    repo.write(nb=TWO)
    assert_is_readable(repo.readable("diff").stdout)
    assert repo.git("diff").stdout == repo.git(*NATIVE).stdout


@pytest.mark.claims(
    "When the environment is moved or removed one day, git falls back to its own diff"
)
@pytest.mark.parametrize("what", ["environment", "script"])
def test_without_the_environment_git_diffs_and_says_what_to_run(
    bare_bones, movable, tmp_path, what
):
    script = shutil.copy(SCRIPT, tmp_path / "nbdime-git")
    bare_bones.nbdime_git("enable", "--prefix", movable)
    bare_bones.script = script
    bare_bones.nbdime_git("enable", "--prefix", movable)
    (movable if what == "environment" else script).unlink()
    bare_bones.write(second=ONE)
    bare_bones.commit()
    bare_bones.write(nb=TWO, second=TWO)
    shown = bare_bones.readable("diff")
    assert shown.stdout == bare_bones.git(*NATIVE).stdout != ""
    assert shown.stderr.count(HINT) == 1 and len(shown.stderr.splitlines()) == 1
    assert "radius = 2" in on_terminal(
        ["git", "diff"], bare_bones.env | {"GIT_PAGER": "cat"}, bare_bones.path
    )
    assert bare_bones.git("diff").stderr == ""
    bare_bones.git("commit", "-qam", "change")
    assert "radius = 2" in bare_bones.readable("log", "-p").stdout


def test_a_file_that_is_no_notebook_is_compared_as_text(repo):
    repo.write(
        nb=ONE.replace(
            '"radius = 1"', '\n<<<<<<< ours\n"radius = 1"\n=======\n"radius = 2"\n>>>>>>> theirs\n'
        )
    )
    for content in (
        (repo.path / "nb.ipynb").read_text(),
        "",
        "[]",
        "null",
        '{"cells": 3, "nbformat": 4}',
        '{"nbformat": 3, "worksheets": []}',
    ):
        repo.write(nb=content)
        shown = repo.readable("diff")
        assert shown.stdout == repo.git(*NATIVE).stdout != ""
        assert "Traceback" not in shown.stderr
    (repo.path / "nb.ipynb").write_bytes(ONE.encode("utf-16"))
    assert "Binary files" in repo.readable("diff").stdout


def large(seed):
    """A notebook of format 4.4 and 2 MB, with the seed's outputs: nbdime compares each of them with
    each.
    """
    rng = random.Random(seed)
    outputs = {
        number: [
            {
                "output_type": "stream",
                "name": "stdout",
                "text": [f"{rng.random()} {rng.random()}\n" for _ in range(1700)],
            }
        ]
        for number in range(24)
    }
    notebook = json.loads(code(*(f"run({number})" for number in range(24)), outputs=outputs))
    for cell in notebook["cells"]:
        del cell["id"]
    return json.dumps(notebook | {"nbformat_minor": 4}, indent=1) + "\n"


@pytest.mark.claims(
    "A line says so after two seconds; after 20 seconds, or 120 in a merge, git falls "
    "back in the same way."
)
def test_a_large_notebook_is_announced_and_bounded(repo):
    """nbdime alone takes half a minute without a word: after two seconds a line says what goes on,
    and git's own way ends it.
    """
    limits = dict(re.findall(r"^(\w+)_SECONDS = (\d+)", SCRIPT.read_text(), re.MULTILINE))
    assert limits == {"SILENT": "2", "DIFF": "20", "MERGE": "120"}
    repo.branches(large(1), large(2), large(3))
    env = repo.env | {"NBDIME_GIT_READABLE": "1", "NBDIME_GIT_SECONDS": "3"}
    for command in (["diff", "main", "other"], ["merge", "other"]):
        done = repo.git(*command, env=env, ok=False, timeout=40)
        first, second = done.stderr.splitlines()[:2]
        assert first == "nbdime-git: nb.ipynb is large: its cells are compared, for at most 3 s"
        assert (
            second == "nbdime-git: nb.ipynb takes nbdime more than 3 s; NBDIME_GIT_SECONDS=30 "
            f"gives it more. This is git's own {command[0]}"
        )
        if command[0] == "diff":
            assert done.stdout == repo.git(*NATIVE, "main", "other").stdout
    text = (repo.path / "nb.ipynb").read_text()
    for side in ("main", "other"):
        lines = set(repo.git("show", f"{side}:nb.ipynb").stdout.splitlines())
        assert not {line.rstrip(",") for line in lines} - {
            line.rstrip(",") for line in text.splitlines()
        }, f"lines of {side} were lost"


def test_a_reader_that_goes_away_is_no_error(repo):
    repo.write(nb=code(*(f"line_{number} = {number}" for number in range(20000))))
    done = run(
        "sh", "-c", "NBDIME_GIT_READABLE=1 git diff | head -n 1", env=repo.env, cwd=repo.path
    )
    assert done.stdout.startswith("nbdiff a/nb.ipynb")
    # After a second it says that the notebook is large: so on a busy machine.
    assert [line for line in done.stderr.splitlines() if "is large" not in line] == []


# ------------------------------------------------------------------ log, show, blame, add -p, stash

FIGURE = [
    {"output_type": "stream", "name": "stdout", "text": ["hello\n"]},
    {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": "iVBORw0KGgo" * 50, "text/plain": ["<Figure>"]},
    },
]


@pytest.mark.claims(
    "``git log -p``, ``git show``, ``git blame`` - on a terminal, notebooks as text: "
    "sources, text outputs, one line for an image",
    "Cell ids and execution counts, the usual noise, are left out of ``git log -p`` already.",
)
def test_log_and_blame_show_text_to_people_and_json_to_programs(repo):
    repo.git(
        "config", "--global", "diff.jupyternotebook.cachetextconv", "true"
    )  # a cache could mix up the two
    repo.write(nb=code("radius = 2", outputs={0: FIGURE}))
    repo.commit("two")
    env = repo.env | {"GIT_PAGER": "sed ''"}
    for shown in (
        on_terminal(["git", "-c", "color.ui=false", "log", "-p", "-1"], env, repo.path),
        repo.readable("log", "-p", "-1").stdout,
        on_terminal(
            ["git", "-c", "color.ui=false", "show"], repo.env | {"GIT_PAGER": "cat"}, repo.path
        ),
    ):
        assert (
            "+radius = 2" in shown
            and "+hello" in shown
            and "+(image/png, 550 bytes, sha1 " in shown
            and "cell_type" not in shown
        ), shown
        assert (
            "execution_count" not in shown
            and "cell-0" not in shown
            and shown.count("550 bytes") == 1
        )
    blame = on_terminal(["git", "blame", "nb.ipynb"], env, repo.path)
    assert "radius = 2" in blame and "cell_type" not in blame
    for command in (["log", "-p"], ["show"], ["blame", "-p", "nb.ipynb"]):
        assert (
            repo.git(*command).stdout
            == repo.git(*command, *(["--no-textconv"] if command[0] != "blame" else [])).stdout
        )
        assert "cell_type" in repo.git(*command).stdout
    repo.git("config", "log.decorate", "false")
    on_terminal(["git", "show", "--output=written"], repo.env | {"GIT_PAGER": "cat"}, repo.path)
    assert repo.git("for-each-ref", "refs/notes").stdout == ""
    patch = repo.git("show").stdout
    assert (repo.path / "written").read_text() == patch
    repo.git("reset", "-q", "--hard", "HEAD~")
    repo.git("apply", input=patch)
    assert sources(repo.path / "nb.ipynb") == ["radius = 2"]


@pytest.mark.claims("``git add -p`` - the JSON, as before: only that can be staged in parts")
def test_every_other_command_of_git_works_on_the_notebook_itself(repo):
    two = repo.path / "nb.ipynb"
    repo.write(nb=TWO)
    env = repo.env | {"NBDIME_GIT_READABLE": "1"}  # what programs read stays as it is all the same
    assert "1 file changed" in repo.git("diff", "--stat", env=env).stdout
    repo.git("stash", env=env)
    repo.git("stash", "pop", env=env)
    assert two.read_text() == TWO
    shown = on_terminal(["git", "-c", "color.ui=false", "add", "-p"], env, repo.path, stdin=b"y\n")
    assert (
        '+    "radius = 2"' in re.sub(r"\x1b\[[\d;]*m", "", shown) and "## modified" not in shown
    ), "the JSON"
    assert repo.git("show", ":nb.ipynb").stdout == TWO
    repo.git("commit", "-qm", "two", env=env)
    repo.write(nb=TWO.replace("1 + 1", "1 + 2"))
    on_terminal(["git", "stash", "-p"], env, repo.path, stdin=b"y\n")
    assert two.read_text() == TWO
    assert '"1 + 2"' in repo.git("stash", "show", "-p").stdout
    repo.git("stash", "pop", env=env)
    repo.git("commit", "-qam", "three", env=env)
    three = two.read_text()
    mails = repo.git("format-patch", "--stdout", "-2", env=env).stdout
    repo.git("reset", "-q", "--hard", "HEAD~2")
    repo.git("am", input=mails, env=env)
    assert two.read_text() == three
    repo.git("rebase", "-q", "--apply", "--force-rebase", "HEAD~2", env=env)
    repo.git("rebase", "-q", "--merge", "--force-rebase", "HEAD~2", env=env)
    assert two.read_text() == three
    repo.git("revert", "--no-edit", "HEAD", env=env)
    assert two.read_text() == TWO
    repo.git("cherry-pick", "HEAD~", env=env)
    assert two.read_text() == three


# ------------------------------------------------------------------ merge

BASE = code("a = 1", "b = 1", "c = 1")


@pytest.mark.claims("One command makes ``git diff`` and ``git merge`` understand notebooks:")
@pytest.mark.claims("and ``git merge`` merges cells rather than lines of JSON.")
@pytest.mark.parametrize("how", [["merge"], ["rebase"], ["cherry-pick"]])
def test_changes_in_different_cells_merge(repo, how):
    repo.branches(BASE, code("a = 2", "b = 1", "c = 1", "d = 4"), code("a = 1", "b = 1", "c = 3"))
    repo.git(*how, "other")
    assert sources(repo.path / "nb.ipynb") == ["a = 2", "b = 1", "c = 3", "d = 4"]
    assert repo.git("status", "--short").stdout == ""


def assert_has_both(text, *lines):
    for line in lines:
        assert line in text, f"{line!r} was lost:\n{text}"


@pytest.mark.claims(
    "``git merge``, ``git rebase``, ``git cherry-pick``, ``git stash pop`` - a merge by "
    "cells; a conflict is marked inside its "
    "cell, and the file stays a notebook that opens",
    "With nbdime the conflict stays inside its cell, and the file still opens. Open it, "
    "look for ``<<<<<<<`` in the cells,",
)
@pytest.mark.parametrize("how", ["merge other", "rebase other", "cherry-pick other", "stash pop"])
def test_a_conflict_keeps_both_sides_in_a_notebook_that_opens(repo, how):
    ours, theirs = code("a = 'ours'", "b = 1", "c = 2"), code("a = 'theirs'", "b = 3", "c = 1")
    if how == "stash pop":
        repo.write(nb=BASE)
        repo.commit("base")
        repo.write(nb=theirs)
        repo.git("stash")
        repo.write(nb=ours)
        repo.commit("ours")
    else:
        repo.branches(BASE, ours, theirs)
    done = repo.git(*how.split(), ok=False)
    assert done.returncode == 1 and "CONFLICT" in done.stdout
    cells = sources(repo.path / "nb.ipynb")
    assert_has_both(cells[0], "<<<<<<<", "a = 'ours'", "=======", "a = 'theirs'", ">>>>>>>")
    assert cells[1:] == ["b = 3", "c = 2"]
    assert repo.git("status", "--short").stdout == "UU nb.ipynb\n"
    assert_has_both(repo.readable("diff").stdout, "ours", "theirs")


@pytest.mark.parametrize(
    "formats", [(4, 4, 4), (2, 3, 4), (4, 5, 4), (5, 4, 5), (None, 4, 5)], ids=str
)
def test_a_merge_of_any_formats_is_a_notebook_that_opens(repo, environment, formats):
    """Only format 4.5 has ids, and there every cell needs one. None: no common base."""
    texts = []
    sides = (["a = 1", "b = 1"], ["a = 'ours'", "b = 1", "new"], ["a = 'theirs'", "b = 1"])
    for minor, cells in zip(formats, sides, strict=True):
        notebook = json.loads(code(*cells)) | {"nbformat_minor": minor}
        for cell in notebook["cells"] if minor != 5 else ():
            del cell["id"]
        texts.append(minor and json.dumps(notebook))
    repo.branches(*texts, name="formats")
    done = repo.git("merge", "other", ok=False)
    assert (
        done.returncode == 1
        and "1 conflict, marked" in done.stderr
        and len(done.stderr.splitlines()) == 1
    ), done.stderr
    file = repo.path / "formats.ipynb"
    assert_has_both(file.read_text(), "<<<<<<<", "a = 'ours'", "a = 'theirs'", "new")
    assert sources(file)[-2:] == ["b = 1", "new"] and json.loads(file.read_text())[
        "nbformat_minor"
    ] == max(formats[1:])
    run(
        environment / "bin/python",
        "-c",
        "import nbformat; nbformat.validate(nbformat.read('formats.ipynb', nbformat.NO_CONVERT))",
        env=repo.env,
        cwd=repo.path,
    )


def test_cells_with_new_ids_on_both_sides_are_known_by_text(repo):
    """A program that upgrades a notebook, or makes it from text, gives other ids each time."""
    repo.branches(
        BASE,
        code("a = 2", "b = 1", "c = 1").replace('"cell-', '"new-'),
        code("a = 1", "b = 1", "c = 3").replace('"cell-', '"other-'),
    )
    assert repo.git("merge", "other").stderr == ""
    assert sources(repo.path / "nb.ipynb") == ["a = 2", "b = 1", "c = 3"]
    assert [cell["id"] for cell in json.loads((repo.path / "nb.ipynb").read_text())["cells"]] == [
        "new-0",
        "new-1",
        "other-2",
    ]


def test_notebooks_of_format_3_are_merged_as_text(repo):
    old, ours, theirs = (
        json.dumps(
            {
                "nbformat": 3,
                "nbformat_minor": 0,
                "metadata": {},
                "worksheets": [
                    {"cells": [{"cell_type": "code", "input": [source], "outputs": []}]}
                ],
            },
            indent=1,
        )
        + "\n"
        for source in ("1", "'ours'", "'theirs'")
    )
    repo.branches(old, ours, theirs)
    done = repo.git("merge", "other", ok=False)
    assert done.returncode == 1 and "has notebook format 3, not 4: merged as text" in done.stderr
    assert_has_both((repo.path / "nb.ipynb").read_text(), "<<<<<<< ours", "'ours'", "'theirs'")


def test_what_nbdime_would_lose_is_merged_as_text(repo):
    """One side removes the cell that the other edits: nbdime keeps the removal in silence in some
    cases.
    """
    moved = [json.loads(text) for text in (BASE, BASE, BASE)]
    moved[1]["cells"] = [
        moved[1]["cells"][1] | {"source": ["b = 1\n", "important = 'ours'"]},
        moved[1]["cells"][2],
    ]
    moved[2]["cells"] = [
        moved[2]["cells"][0] | {"attachments": {}, "source": ["important = 'theirs'"]},
        moved[2]["cells"][2],
    ]
    repo.branches(*(json.dumps(notebook, indent=1) + "\n" for notebook in moved))
    repo.git("merge", "other", ok=False)
    assert_has_both(
        (repo.path / "nb.ipynb").read_text(), "important = 'ours'", "important = 'theirs'"
    )


@pytest.mark.claims("A merge keeps both sides in every case.")
def test_no_random_merge_loses_a_line(repo, environment, tmp_path):
    """300 pairs of random edits through the driver as git calls it: what either side added is
    there, and the notebook is valid.

    Every other pair mixes the formats 4.0 to 4.5, which differ in whether a cell has an id; some
    have no base.
    """
    script = DATA / "merge_fuzz.py"
    done = run(environment / "bin/python", script, SCRIPT, "300", env=repo.env, cwd=tmp_path)
    counts = json.loads(done.stdout)
    assert (
        counts["bad"] == [] and min(counts["clean"], counts["conflict"]) > 50 and counts["text"] > 0
    ), counts


@pytest.mark.claims("falls back to its own diff and merge, and says what to run.")
@pytest.mark.parametrize("what", ["environment", "script"])
def test_when_the_environment_has_gone_a_merge_keeps_both_sides(
    bare_bones, movable, tmp_path, what
):
    bare_bones.script = shutil.copy(SCRIPT, tmp_path / "nbdime-git")
    bare_bones.nbdime_git("enable", "--prefix", movable)
    (movable if what == "environment" else bare_bones.script).unlink()
    bare_bones.branches(
        BASE, code("a = 'ours'", "b = 1", "c = 2"), code("a = 'theirs'", "b = 1", "c = 1")
    )
    done = bare_bones.git("merge", "other", ok=False)
    assert done.returncode == 1 and "CONFLICT" in done.stdout and HINT in done.stderr
    assert_has_both(
        (bare_bones.path / "nb.ipynb").read_text(),
        "<<<<<<< ours",
        "a = 'ours'",
        "a = 'theirs'",
        ">>>>>>> theirs",
        "c = 2",
    )
    assert bare_bones.git("status", "--short").stdout == "UU nb.ipynb\n"
    tool = bare_bones.git("mergetool", "--tool=nbdime", ok=False, stdin=subprocess.DEVNULL)
    assert tool.returncode == 1 and HINT in tool.stderr
    bare_bones.git("merge", "--abort")
    bare_bones.write(nb=BASE)
    bare_bones.git("reset", "-q", "--hard", "HEAD~")
    bare_bones.write(nb=code("a = 1", "b = 1", "c = 1", "d = 1"))
    bare_bones.commit()
    bare_bones.git("merge", "other")
    assert sources(bare_bones.path / "nb.ipynb") == ["a = 'theirs'", "b = 1", "c = 1", "d = 1"]


def test_a_merge_of_what_is_no_notebook_keeps_both_sides(repo):
    repo.branches("{\n1\n", "{\n'ours'\n", "{\n'theirs'\n")
    done = repo.git("merge", "other", ok=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert_has_both((repo.path / "nb.ipynb").read_text(), "<<<<<<< ours", "'ours'", "'theirs'")


@pytest.fixture
def shelved(repo, tmp_path):
    """A repository that stores a pointer in place of a notebook, as one with git-lfs does: the
    notebook is on a shelf outside.
    """
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    repo.git(
        "config",
        "filter.shelf.clean",
        f"cat >{shelf}/new; n=$(sha1sum <{shelf}/new | cut -c -40); mv {shelf}/new "
        f"{shelf}/$n; echo pointer $n",
    )
    repo.git("config", "filter.shelf.smudge", f"read -r word n; cat {shelf}/$n")
    repo.git("config", "filter.shelf.required", "true")
    (repo.path / ".gitattributes").write_text("*.ipynb filter=shelf diff=shelf merge=shelf -text\n")
    repo.branches(
        BASE, code("a = 2", "b = 'ours'", "c = 1"), code("a = 1", "b = 'theirs'", "c = 3")
    )
    assert repo.git("show", "main:nb.ipynb", "other:nb.ipynb").stdout.count("pointer") == 2
    return repo


@pytest.mark.claims(
    "Notebooks that git stores through a filter, as Git LFS does, are compared and "
    "merged all the same."
)
def test_notebooks_behind_a_filter_are_merged_and_compared(shelved):
    done = shelved.git("merge", "other", ok=False)
    assert (
        "1 conflict, marked with <<<<<<< in the cells" in done.stderr
        and len(done.stderr.splitlines()) == 1
    )
    cells = sources(shelved.path / "nb.ipynb")
    assert_has_both(cells[1], "<<<<<<<", "b = 'ours'", "b = 'theirs'")
    assert (cells[0], cells[2]) == ("a = 2", "c = 3")
    shelved.write(nb=code("a = 2", "b = 'both'", "c = 3"))
    shelved.commit()
    assert shelved.git("show", "HEAD:nb.ipynb").stdout.startswith("pointer ")
    shelved.git("checkout", "-q", "other")
    shelved.git("merge", "-q", "main")
    assert sources(shelved.path / "nb.ipynb") == ["a = 2", "b = 'both'", "c = 3"]
    shelved.write(nb=code("a = 2", "b = 'both'", "c = 4"))
    shown = shelved.readable("diff")
    assert (
        shown.stderr == ""
        and "-  c = 3\n+  c = 4" in shown.stdout
        and "cells/1" not in shown.stdout
    )
    assert shelved.git("diff").stdout == shelved.git(*NATIVE).stdout != ""


@pytest.mark.claims(
    "Where the filter does not work, a merge leaves them as they are, says so, and you "
    "take one side."
)
@pytest.mark.parametrize("missing", ["filter", "content", "attribute", "nbdime", "storage"])
def test_what_a_filter_made_of_a_notebook_is_never_merged(shelved, movable, tmp_path, missing):
    """Marks of a conflict in a pointer make it point nowhere.

    Both sides stay in the index, the file stays as it is.
    """
    if missing == "filter":
        shelved.git("config", "--remove-section", "filter.shelf")
    elif missing == "content":
        shelved.git("config", "filter.shelf.smudge", "false")
    elif missing == "attribute":
        shelved.git("rm", "-q", ".gitattributes")
        shelved.git("commit", "-qm", "no attributes")
        shelved.git("checkout", "HEAD", "nb.ipynb")
    elif missing == "nbdime":
        shelved.nbdime_git("enable", "--prefix", movable)
        movable.unlink()
    elif missing == "storage":
        shelved.git("config", "filter.shelf.clean", "cat")
    before = (shelved.path / "nb.ipynb").read_bytes()
    done = shelved.git("merge", "other", ok=False)
    told = [
        line
        for line in done.stderr.splitlines()
        if line.startswith("nbdime-git") and HINT not in line
    ]
    assert (
        done.returncode == 1
        and len(told) == 1
        and told[0].endswith("Take one side: git checkout --ours or --theirs nb.ipynb")
    ), done.stderr
    assert (shelved.path / "nb.ipynb").read_bytes() == before
    assert len(shelved.git("ls-files", "-u").stdout.splitlines()) == 3
    if missing == "filter":
        assert "so this is git's own diff" in shelved.readable("diff", "main", "other").stderr


def test_a_binary_file_stays_a_conflict_with_both_sides(repo):
    """Both sides stand in the index."""
    for name, content in (("base", ONE), ("ours", TWO), ("theirs", BASE)):
        (repo.path / name).write_bytes(content.encode("utf-16"))
    data = {name: (repo.path / name).read_bytes() for name in ("base", "ours", "theirs")}
    file = repo.path / "nb.ipynb"
    for branch, name in (("main", "base"), ("other", "theirs"), ("main", "ours")):
        if branch == "other":
            repo.git("checkout", "-qb", "other")
        elif name == "ours":
            repo.git("checkout", "-q", "main")
        file.write_bytes(data[name])
        repo.commit(name)
    done = repo.git("merge", "other", ok=False)
    assert done.returncode == 1 and "--theirs nb.ipynb" in done.stderr.replace("'", "")
    assert (
        len(repo.git("ls-files", "-u").stdout.splitlines()) == 3
        and file.read_bytes() == data["ours"]
    )


def test_a_full_disk_during_a_merge_loses_nothing(repo):
    repo.branches(code("a = 1"), code("a = 'ours'"), code(*["a = 'theirs'"] * 200))
    before = (repo.path / "nb.ipynb").read_bytes()
    folder = repo.path.parent / "limited"
    folder.mkdir()
    for name, rev in (("O", "main~:nb.ipynb"), ("A", "main:nb.ipynb"), ("B", "other:nb.ipynb")):
        (folder / name).write_text(repo.git("show", rev).stdout)
    driver = repo.git("config", "merge.jupyternotebook.driver").stdout
    for letter in "OAB":
        driver = driver.replace("%" + letter, letter)
    driver = driver.replace("%L", "7").replace("%P", "nb.ipynb").replace("%%", "%")

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = run("sh", "-c", driver, env=repo.env, cwd=folder, ok=False, preexec_fn=limit)
    assert done.returncode > 128, done  # git stops the merge at such a status
    assert (folder / "A").read_bytes() == before and sorted(os.listdir(folder)) == ["A", "B", "O"]


# ------------------------------------------------------------------ the tools


def test_mergetool_without_a_browser_shows_the_conflict_and_ends(repo):
    repo.branches(
        BASE, code("a = 'ours'", "b = 1", "c = 1"), code("a = 'theirs'", "b = 1", "c = 1")
    )
    repo.git("merge", "other", ok=False)
    conflicted = (repo.path / "nb.ipynb").read_bytes()
    done = repo.git("mergetool", "--tool=nbdime", ok=False, stdin=subprocess.DEVNULL, timeout=30)
    assert done.returncode == 1
    assert_has_both(
        done.stdout + done.stderr, "ours", "theirs", "1 conflict to settle", "git add -- nb.ipynb"
    )
    assert "successful" not in done.stdout, "git asked whether the merge was successful"
    assert (repo.path / "nb.ipynb").read_bytes() == conflicted
    assert repo.git("status", "--short").stdout == "UU nb.ipynb\n", "files were left behind"
    both = repo.git(
        "difftool",
        "--no-prompt",
        "--tool=nbdime",
        "main",
        "other",
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    assert_has_both(both.stdout, "ours", "theirs", "## modified /cells/0/source")


def test_mergetool_settles_what_was_merged_without_nbdime(repo):
    """A text conflict of two neighbouring cells, made when the environment was away, is none for
    nbdime.
    """
    ours, theirs = code("a = 2", "b = 1", "c = 1"), code("a = 1", "b = 3", "c = 1")
    repo.branches(BASE, ours, theirs)
    repo.git("-c", "merge.jupyternotebook.driver=false", "merge", "other", ok=False)
    repo.git("mergetool", "--tool=nbdime", stdin=subprocess.DEVNULL, timeout=30)
    assert sources(repo.path / "nb.ipynb") == ["a = 2", "b = 3", "c = 1"]
    assert repo.git("status", "--short").stdout.splitlines() == ["M  nb.ipynb", "?? nb.ipynb.orig"]


@pytest.mark.claims(
    "``git mergetool --tool=nbdime``, ``git difftool --tool=nbdime`` - both sides next "
    "to each other, in a browser where there "
    "is one, otherwise as text",
    "``git mergetool --tool=nbdime`` shows both sides next to each other instead.",
)
def test_mergetool_opens_a_browser_where_there_is_one(repo, tmp_path):
    repo.branches(
        BASE, code("a = 'ours'", "b = 1", "c = 1"), code("a = 'theirs'", "b = 1", "c = 1")
    )
    repo.git("merge", "other", ok=False)
    browser = tmp_path / "browser"  # asks nbdime's page, then closes it, as its button does
    browser.write_text(f"""#!/usr/bin/env python3
import http.cookiejar, sys, urllib.request
cookies = http.cookiejar.CookieJar()
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
page = opener.open(sys.argv[1]).read()
open({str(tmp_path / "page")!r}, 'wb').write(sys.argv[1].encode() + page)
close = sys.argv[1].split('/mergetool')[0] + '/api/closetool'
headers = {{'X-XSRFToken': next(cookie.value for cookie in cookies if cookie.name == '_xsrf')}}
opener.open(urllib.request.Request(close, data=b'{{"exitCode": 1}}', headers=headers))
""")
    browser.chmod(0o755)
    command = [
        "timeout",
        "50",
        "git",
        "mergetool",
        "--tool=nbdime",
    ]  # it ends what it started, if the page does not
    done = run(
        *command,
        env=repo.env | {"BROWSER": str(browser)},
        cwd=repo.path,
        ok=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert (
        b"/mergetool" in (tmp_path / "page").read_bytes()
        and b"nbdime" in (tmp_path / "page").read_bytes()
    ), done.stderr
    browser.write_text(browser.read_text().replace("/mergetool", "/difftool"))
    command = ["timeout", "50", "git", "difftool", "--no-prompt", "--tool=nbdime", "main", "other"]
    run(
        *command,
        env=repo.env | {"BROWSER": str(browser)},
        cwd=repo.path,
        ok=False,
        stdin=subprocess.DEVNULL,
    )
    assert b"/difftool" in (tmp_path / "page").read_bytes()
