"""nbdime-git sets git up for notebooks, never harms a repository, and takes itself back without a
trace.

Real repositories, a real nbdime: $NBDIME_ENV names its environment, else .venv-nbdime in the
checkout.
"""

import json
import os
import pty
import random
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tools.files import ROOT

SCRIPT = ROOT / "triton/bin/nbdime-git"
ENVIRONMENT = Path(os.environ.get("NBDIME_ENV") or ROOT / ".venv-nbdime").absolute()
NATIVE = ["diff", "--no-ext-diff", "--no-textconv", "--no-color"]
HINT = "To repair: nbdime-git enable"
NOBODY = 65534
AWKWARD = 'it\'s "q"  $HOME `id` \\1 %O%A & #; st*r [a]? näme-数 (b) {a} <b> | ~ !@'


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
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "NBDIME_GIT_PREFIX": str(ENVIRONMENT),
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
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1) + "\n"


def abc(a=1, b=1, c=1):
    return code(f"a = {a!r}", f"b = {b!r}", f"c = {c!r}")


def sources(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


ONE = code("import math\nradius = 1", "print(radius)", "1 + 1")
TWO = ONE.replace("radius = 1", "radius = 2")


class Repo:
    """A repository in the folder `path`; its notebook is nb.ipynb."""

    def __init__(self, path, env, script=SCRIPT):
        self.path, self.env, self.script = path, env, script
        self.notebook = path / "nb.ipynb"

    def run(self, *command, env=None, cwd=None, **options):
        """Run a command here, with `env` besides the variables of the person."""
        return run(*command, env=self.env | (env or {}), cwd=cwd or self.path, **options)

    def git(self, *arguments, **options):
        return self.run("git", *arguments, **options)

    def nbdime_git(self, *arguments, **options):
        return self.run(sys.executable, self.script, *arguments, **options)

    def write(self, **files):
        for name, content in files.items():
            (self.path / f"{name}.ipynb").write_text(content)

    def commit(self, message="change"):
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def readable(self, *arguments, **options):
        return self.git(*arguments, env={"NBDIME_GIT_READABLE": "1"}, **options)

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
        """All files of git's that enable may touch, or leave behind, as bytes."""
        folder = Path(self.path, self.git("rev-parse", "--git-common-dir").stdout.strip())
        files = [*folder.glob("config*"), *folder.glob("info/attributes*")]
        return {str(file): file.read_bytes() for file in files}


@pytest.fixture
def bare_bones(tmp_path, env):
    """A repository with nb.ipynb in it, nothing enabled."""
    if not (ENVIRONMENT / "bin/nbdime").exists():
        pytest.fail(f"no nbdime in {ENVIRONMENT}: make .venv-nbdime, or set NBDIME_ENV")
    path = tmp_path / "repo"
    run("git", "init", "-q", path, env=env, cwd=tmp_path)
    repo = Repo(path, env)
    repo.write(nb=ONE)
    repo.commit("first")
    return repo


@pytest.fixture
def repo(bare_bones):
    """The same, enabled."""
    bare_bones.nbdime_git("enable")
    return bare_bones


@pytest.fixture
def movable(tmp_path, env):
    """An environment that can go away: a link to the real one, and the one that is enabled."""
    link = tmp_path / "movable-env"
    link.symlink_to(ENVIRONMENT)
    env["NBDIME_GIT_PREFIX"] = str(link)
    return link


def on_terminal(repo, *command, stdin=b"", **env):
    """What a command shows on a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command,
        env=repo.env | env,
        cwd=repo.path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    if stdin:
        os.write(master, stdin)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:  # the command has ended
            break
    os.close(master)
    assert process.wait(60) == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


def assert_is_readable(text):
    assert "## modified /cells/0/source" in text and "radius = 2" in text, text
    assert '"source": [' not in text and "cell_type" not in text


def assert_one_sentence(done, *words):
    assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and re.fullmatch(r"nbdime-git: .*\.", lines[0]), done.stderr
    for word in words:
        assert str(word) in lines[0], lines[0]


def assert_has(text, *lines):
    for line in lines:
        assert line in text, f"{line!r} was lost:\n{text}"


def messages(done):
    return done.stderr.splitlines()


def assert_diff_is_gits_own(repo, *arguments, **options):
    """In a pipe `git diff` prints what it prints without a driver."""
    native = [word for word in NATIVE if word != "--no-color" or "color" not in str(arguments)]
    ours, gits = (
        repo.git(*command, *arguments, **options).stdout for command in (["diff"], native)
    )
    assert ours == gits, arguments
    return gits


def limited(size):
    """No file that this process writes may be larger: so fails a write on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


# ------------------------------------------------------------------ enable, disable, status

BEFORE = {  # what stands at the end of the configuration, and in the attributes
    "nothing": (b"", None),
    "attributes that are not UTF-8": (b"", b"*.f\xe5\xe4 text\r\n# \xff\xfe\n*.ipynb -diff\n"),
    "no final newline": (b"[alias]\n\tst = status", b"*.csv text"),
    "the very same rule, and CRLF": (
        b"[alias]\r\n\tst = status\r\n# keep this\r\n",
        b"*.ipynb diff=jupyternotebook merge=jupyternotebook\n",
    ),
    "own values, some twice, no attributes": (
        b'[diff "jupyternotebook"]\n\tcommand = mine --one # why\n    command="mine; two"\n'
        b'\ttextconv = cat\n; a remark\n[merge "jupyternotebook"]\n\tdriver = true\n\n'
        b'[mergetool "nbdime"]\n\ttrustExitCode = false\n\tcmd = other\n'
        b'[diff "jupyternotebook"]\n\txfuncname = x\n',
        b"",
    ),
}


@pytest.mark.claims("This puts everything back as it was, your own earlier settings included:")
@pytest.mark.parametrize("before", BEFORE)
def test_disable_puts_back_every_byte(bare_bones, before, tmp_path):
    """Also in files that are links to files elsewhere; and all that was set stays in force."""
    repo, folder = bare_bones, bare_bones.path / ".git"
    config, attributes = folder / "config", folder / "info/attributes"
    attributes.unlink(missing_ok=True)
    config.write_bytes(config.read_bytes() + BEFORE[before][0])
    config.chmod(0o640)
    if BEFORE[before][1] is not None:
        attributes.write_bytes(BEFORE[before][1])
    if before == "no final newline":
        for file in (config, attributes):
            shutil.move(file, tmp_path / file.name)
            file.symlink_to(tmp_path / file.name)
    state, settings = repo.state(), repo.git("config", "--list", "--local").stdout
    told = repo.nbdime_git("status", ok=False)
    assert told.returncode == 1 and "is not enabled" in told.stdout
    assert ("mine; two" in told.stdout) == ("own" in before)

    repo.nbdime_git("enable")
    assert set(settings.splitlines()) < set(
        repo.git("config", "--list", "--local").stdout.splitlines()
    )
    repo.write(nb=TWO)
    assert_is_readable(repo.readable("diff").stdout)
    told = repo.nbdime_git("status").stdout
    assert "is enabled" in told and "nbdime 4.0.4" in told and "problem" not in told

    enabled = repo.state()
    times = {file: os.stat(file).st_mtime_ns for file in enabled}
    repo.nbdime_git("enable")
    assert repo.state() == enabled, "once is enough"
    assert {file: os.stat(file).st_mtime_ns for file in enabled} == times

    assert ("As before" in repo.nbdime_git("disable").stdout) == ("own" in before)
    assert repo.state() == state and stat.S_IMODE(config.stat().st_mode) == 0o640
    assert config.is_symlink() == attributes.is_symlink() == (before == "no final newline")
    assert "nothing to do" in repo.nbdime_git("disable").stdout and repo.state() == state


def test_the_environment_is_found_where_it_is_named(bare_bones, movable, tmp_path):
    """Beside the Python that runs it, by the variable, or by the facts in the folder above."""
    repo, facts = bare_bones, tmp_path / "centre/facts.toml"
    (tmp_path / "centre/bin").mkdir(parents=True)
    repo.script = shutil.copy(SCRIPT, tmp_path / "centre/bin")
    repo.run(ENVIRONMENT / "bin/python", repo.script, "enable")
    assert f"{ENVIRONMENT}/bin" in repo.git("config", "diff.jupyternotebook.command").stdout
    repo.nbdime_git("disable")
    without = repo.state()
    repo.nbdime_git("enable")
    enabled = repo.state()
    assert str(movable).encode() in b"".join(enabled.values())
    repo.nbdime_git("disable")
    del repo.env["NBDIME_GIT_PREFIX"]
    assert_one_sentence(repo.nbdime_git("enable", ok=False), "has no nbdime", "--prefix DIR")
    facts.write_text('[paths]\njupyter_env = "/no/such/env"\n')
    assert_one_sentence(repo.nbdime_git("enable", ok=False), facts, "/no/such/env")
    assert repo.state() == without
    facts.write_text(f'[paths]\njupyter_env = "{movable}"\n')
    repo.nbdime_git("enable")
    assert repo.state() == enabled


@pytest.mark.claims(
    "Run ``nbdime-git enable`` in that repository; it takes over.",
    "They also wrote two lines into ``.gitattributes``, which git tracks; these do no harm.",
    "But when the environment is gone, a merge with them leaves only your side in the file, "
    "without a mark.",
    "git would go on calling it, and a merge would leave only your side in the file.",
)
def test_the_old_recipe_is_repaired(bare_bones):
    """What the page used to say: nbdime config-git --enable, then sed."""
    repo, config = bare_bones, bare_bones.path / ".git/config"
    path = {"PATH": f"{ENVIRONMENT}/bin:{repo.env['PATH']}"}
    repo.run(ENVIRONMENT / "bin/nbdime", "config-git", "--enable", env=path)
    tracked = (repo.path / ".gitattributes").read_bytes()
    assert tracked.count(b"*.ipynb") == 2
    # The environment goes: git says that there is a conflict, and no mark shows where.
    config.write_text(config.read_text().replace("git-nb", "/moved/away/git-nb"))
    repo.branches(abc(), abc(a="ours"), abc(b="theirs"))
    merged = repo.git("merge", "other", ok=False)
    assert merged.returncode == 1 and "CONFLICT" in merged.stdout
    assert sources(repo.notebook) == ["a = 'ours'", "b = 1", "c = 1"]
    repo.git("merge", "--abort")
    state = repo.state()
    repo.write(nb=TWO)
    assert repo.git("diff", ok=False).returncode == 128
    told = repo.nbdime_git("status", ok=False)
    assert told.returncode == 1 and "/moved/away/git-nbdiffdriver" in told.stdout
    # nbdime-git takes over, and back.
    repo.nbdime_git("enable")
    assert "radius = 2" in repo.readable("diff").stdout
    assert repo.nbdime_git("status").returncode == 0
    assert (repo.path / ".gitattributes").read_bytes() == tracked
    assert "As before" in repo.nbdime_git("disable").stdout and repo.state() == state


@pytest.mark.claims(
    "**Often:** people enable it in one repository and miss it in the next. It is one command for "
    "each.",
    "A clone is a new repository, and settings are not cloned: enable it there as well, or "
    "once for all your repositories:",
)
def test_global_settings_are_for_all_and_go_without_a_trace(bare_bones, env, tmp_path):
    repo, home = bare_bones, Path(env["HOME"])
    config, attributes = home / ".gitconfig", home / ".config/git/attributes"
    before = config.read_bytes()
    # What is enabled in a repository is not enabled in its clone.
    repo.nbdime_git("enable")
    clone = Repo(tmp_path / "clone", env)
    repo.git("clone", "-q", repo.path, clone.path)
    clone.write(nb=TWO)
    assert clone.nbdime_git("status", ok=False).returncode == 1
    assert clone.readable("diff").stdout == clone.git(*NATIVE).stdout
    repo.nbdime_git("disable")
    # From outside of any repository, for all.
    repo.nbdime_git("enable", "--global", cwd=tmp_path)
    repo.write(nb=TWO)
    for each in (repo, clone):
        assert_is_readable(each.readable("diff").stdout)
        assert each.nbdime_git("status").returncode == 0
    assert repo.nbdime_git("status", "--global", cwd=tmp_path).returncode == 0
    repo.nbdime_git("disable", "--global", cwd=tmp_path)
    assert config.read_bytes() == before and not attributes.exists()
    # Files that were not there go again; where attributes have another place, that one is taken.
    new = {"GIT_CONFIG_GLOBAL": str(tmp_path / "new-config")}
    for command in ("enable", "enable", "disable"):
        repo.nbdime_git(command, "--global", env=new)
    assert not (tmp_path / "new-config").exists() and not attributes.exists()
    config.write_bytes(before + b"[core]\n\tattributesFile = ~/my attributes\n")
    repo.nbdime_git("enable", "--global")
    assert_is_readable(repo.readable("diff").stdout)
    assert b"jupyternotebook" in (home / "my attributes").read_bytes()


# ------------------------------------------------------------------ every kind of repository


def test_any_path_will_do(tmp_path, env):
    """The repository, the environment and the command itself, each under an awkward name."""
    folder = tmp_path / AWKWARD
    folder.mkdir()
    (folder / "env").symlink_to(ENVIRONMENT)
    repo = Repo(folder / "repo", env, shutil.copy(SCRIPT, folder / f"nbdime-git {AWKWARD}"))
    run("git", "init", "-q", repo.path, env=env, cwd=tmp_path)
    odd = repo.path / f"{AWKWARD}.ipynb"
    repo.branches(abc(), abc(a=2), abc(c=3), odd.stem)
    repo.nbdime_git("enable", "--prefix", "../env")  # a relative folder is meant from here
    assert messages(repo.git("merge", "other")) == []
    assert sources(odd) == ["a = 2", "b = 1", "c = 3"]
    odd.write_text(ONE)
    repo.commit()
    odd.write_text(TWO)
    shown = repo.readable("diff")
    assert_is_readable(shown.stdout)
    assert f"a/{odd.name}" in shown.stdout and not messages(shown)
    assert_diff_is_gits_own(repo)
    assert_is_readable(repo.git("difftool", "--no-prompt", "--tool=nbdime").stdout)
    assert repo.readable("show").stdout.count(" %% [code]\n-") == 3


def test_a_file_name_that_is_no_text_runs_nothing(repo):
    """It is a name like others.

    A shell that reads words of UTF-8 must not lose its quotes at a byte that is none.
    """
    name = b"\xff;touch made;.ipynb"
    Path(os.fsdecode(os.fsencode(repo.path) + b"/" + name)).write_text(ONE)
    repo.write(nb=TWO)
    repo.git("diff", "--", "nb.ipynb", os.fsdecode(name), errors="replace")
    assert not (repo.path / "made").exists()


def test_worktrees_submodules_bare_ones_and_git_dir(bare_bones, env, tmp_path):
    # A submodule, while the repository above it stays as it was.
    repo, above = bare_bones, Repo(tmp_path / "above", env)
    run("git", "init", "-q", above.path, env=env, cwd=tmp_path)
    allow = ("-c", "protocol.file.allow=always")
    above.git(*allow, "submodule", "add", "-q", repo.path, "below")
    below, untouched = Repo(above.path / "below", env), above.state()
    below.nbdime_git("enable")
    below.write(nb=TWO)
    assert_is_readable(below.readable("diff").stdout)
    assert above.state() == untouched
    # A linked worktree has the settings of its repository.
    repo.nbdime_git("enable")
    repo.git("worktree", "add", "-q", "../tree", "-b", "tree")
    tree, enabled = Repo(tmp_path / "tree", env), repo.state()
    tree.write(nb=TWO)
    (tree.path / "sub").mkdir()
    assert_is_readable(tree.readable("diff", cwd=tree.path / "sub").stdout)
    tree.nbdime_git("disable")
    assert "nbdime" not in repo.git("config", "--list").stdout
    tree.nbdime_git("enable")
    assert repo.state() == enabled
    # Without a work tree.
    tree.commit()
    repo.git("clone", "-q", "--bare", repo.path, tmp_path / "bare.git")
    bare = Repo(tmp_path / "bare.git", env)
    bare.nbdime_git("enable")
    assert bare.nbdime_git("status").returncode == 0
    assert_is_readable(bare.readable("diff", "tree~", "tree").stdout)
    assert assert_diff_is_gits_own(bare, "tree~", "tree")
    # A repository that variables name.
    repo.nbdime_git("disable")
    repo.write(nb=TWO)
    named = {"GIT_DIR": str(repo.path / ".git"), "GIT_WORK_TREE": str(repo.path)}
    repo.nbdime_git("enable", env=named, cwd=tmp_path)
    readable = {"NBDIME_GIT_READABLE": "1"}
    assert_is_readable(repo.git("diff", env=named | readable, cwd=tmp_path).stdout)
    assert_is_readable(repo.git("diff", env={"GIT_DIR": ".git"} | readable).stdout)
    assert assert_diff_is_gits_own(repo, env=named, cwd=tmp_path)


# ------------------------------------------------------------------ what can go wrong changes
# nothing


@pytest.mark.claims(
    "Git may refuse with ``dubious ownership``, since the folder belongs to somebody else. That "
    "is git's own caution; it names the command that tells it to trust this folder."
)
def test_what_goes_wrong_is_one_sentence_and_changes_nothing(bare_bones, env, tmp_path):
    repo, state = bare_bones, bare_bones.state()

    def refused(command, *words, timeout=60, **env):
        done = repo.nbdime_git(*command.split(), env=env, ok=False, timeout=timeout)
        assert_one_sentence(done, *words)
        assert repo.state() == state

    for command in ("enable", "disable", "status"):
        done = repo.nbdime_git(command, cwd=tmp_path, ok=False)
        assert_one_sentence(done, "not in a git repository")
    foreign = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}  # git's own switch for this
    refused("enable", "safe.directory", repo.path, **foreign)
    said = repo.git("status", env=foreign, ok=False).stderr
    assert f"git config --global --add safe.directory {repo.path}" in said
    refused(f"enable --prefix {tmp_path}/nowhere", "there is no bin/python")
    (tmp_path / "empty/bin").mkdir(parents=True)
    (tmp_path / "empty/bin/python").symlink_to(os.path.realpath(sys.executable))
    refused(f"enable --prefix {tmp_path}/empty", "cannot import nbdime")
    refused("enable", "git is not installed", PATH=str(tmp_path))
    refused("enable --global", "HOME is not set", HOME="")
    (tmp_path / "broken").write_text("[core\n")
    refused("enable --global", "bad config line 1", GIT_CONFIG_GLOBAL=f"{tmp_path}/broken")
    # A pipe stands for /dev/null here: the test must not risk the machine's own.
    os.mkfifo(tmp_path / "null")
    refused("enable --global", "is not a file", GIT_CONFIG_GLOBAL=f"{tmp_path}/null", timeout=10)
    assert (tmp_path / "null").is_fifo()
    (tmp_path / "xdg/git/attributes").mkdir(parents=True)
    refused("enable --global", "is not a file", XDG_CONFIG_HOME=f"{tmp_path}/xdg")
    assert repo.nbdime_git("repair", ok=False).returncode == 2
    shown = repo.nbdime_git("--help").stdout
    assert shown.startswith("Readable diffs") and shown.strip() in SCRIPT.read_text()
    # Another git works on the configuration.
    lock = repo.path / ".git/config.lock"
    lock.touch()
    state = repo.state()
    refused("enable", "another git", lock)
    lock.unlink()


def test_settings_included_from_elsewhere_are_respected_or_named(bare_bones, env, tmp_path):
    repo, config = bare_bones, bare_bones.path / ".git/config"
    work = tmp_path / "work.inc"
    work.write_text('[diff "jupyternotebook"]\n\tcommand = echo from-the-include\n')
    with open(f"{env['HOME']}/.gitconfig", "a") as mine:
        mine.write(f'[includeIf "gitdir:{tmp_path}/"]\n\tpath = {work}\n')
    repo.nbdime_git("enable")  # the repository's own settings come later: they count
    repo.write(nb=TWO)
    assert_is_readable(repo.readable("diff").stdout)
    repo.nbdime_git("disable")
    repo.git("config", "diff.jupyternotebook.command", "echo earlier")
    config.write_text(config.read_text() + f"[include]\n\tpath = {work}\n")  # and now this counts
    state = repo.state()
    refused = repo.nbdime_git("enable", ok=False)
    assert_one_sentence(refused, work, "diff.jupyternotebook.command")
    assert repo.state() == state


def as_nobody(*command, **options):
    """Run a command as a user who owns nothing."""
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return run("setpriv", *ids, *command, **options)


@pytest.fixture
def second_user():
    """A folder that another user can read, with an environment and a copy of the command."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("a second user needs root and setpriv")
    [packages] = (ENVIRONMENT / "lib").glob("python3*/site-packages")
    python = shutil.which(packages.parent.name, path="/usr/bin:/usr/local/bin") or sys.executable
    folder = Path(tempfile.mkdtemp(prefix="second-user-"))
    try:
        folder.chmod(0o755)
        subprocess.run([python, "-m", "venv", "--without-pip", folder / "env"], check=True)
        [own] = (folder / "env/lib").glob("python3*/site-packages")
        (own / "packages.pth").write_text(f"{packages}\n")
        python = folder / "env/bin/python3"
        if as_nobody(python, "-c", "import nbdime", env={}, cwd="/", ok=False).returncode:
            pytest.skip("another user cannot read a Python, or the environment")
        shutil.copy(SCRIPT, folder)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.mark.claims(
    "Enable it once. The settings are in the repository's own ``.git/config`` and "
    "``.git/info/attributes``, with paths that everyone on {{ cluster.name }} can read, so they "
    "hold for every member who works in that folder. Nothing goes into a file that git tracks: "
    "who clones it elsewhere notices nothing."
)
def test_another_member_of_the_group_gets_the_same(second_user, env):
    """Another user, another umask, another folder, no HOME, no environment loaded; they set it up,
    we too.
    """
    path = second_user / "shared"
    run("git", "init", "-q", "--shared=group", path, env=env, cwd=second_user)
    for folder, _, _ in os.walk(path):
        os.chown(folder, -1, NOBODY)
        os.chmod(folder, 0o2775)
    env["NBDIME_GIT_PREFIX"] = str(second_user / "env")
    repo = Repo(path, env, second_user / "nbdime-git")
    repo.branches(abc(), abc(a=2), abc(c=3))
    for file in path.rglob("*"):
        os.chown(file, -1, NOBODY)
    shutil.rmtree(path / ".git/info")
    repo.nbdime_git("enable", umask=0o077)
    assert repo.git("status", "--porcelain").stdout == ""
    assert set(repo.state()) == {f"{path}/.git/config", f"{path}/.git/info/attributes"}
    repo.git("clone", "-q", path, second_user / "elsewhere")
    assert (
        "jupyternotebook" not in repo.git("config", "--list", cwd=second_user / "elsewhere").stdout
    )
    other = {
        "PATH": env["PATH"],
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_CONFIG_NOSYSTEM": "1",
        "NBDIME_GIT_READABLE": "1",
        "EMAIL": "b@example.org",
    }
    shown = as_nobody("git", "-C", path, "diff", "other~", "other", env=other, cwd="/", umask=0o002)
    assert "## modified /cells/2/source" in shown.stdout and not messages(shown)
    as_nobody("git", "-C", path, "merge", "other", env=other, cwd="/", umask=0o002)
    assert sources(repo.notebook) == ["a = 2", "b = 1", "c = 3"]
    tool = [second_user / "env/bin/python3", second_user / "nbdime-git"]
    as_nobody(*tool, "disable", env=other, cwd=path, umask=0o027)
    as_nobody(*tool, "enable", env=other, cwd=path, umask=0o077)
    assert repo.nbdime_git("status").returncode == 0
    assert (path / ".git/info/attributes").stat().st_mode & 0o060 == 0o060
    # In a repository that others may not write nothing changes.
    for folder in (path / ".git", path / ".git/info"):
        state = repo.state()
        folder.chmod(0o755)
        done = as_nobody(*tool, "disable", env=other, cwd=path, ok=False)
        assert_one_sentence(done, f"no permission to write {path}/.git/")
        assert repo.state() == state
        folder.chmod(0o2775)


@pytest.mark.parametrize("end", ["TERM", "KILL", "full disk"])
def test_an_end_in_the_middle_changes_nothing(bare_bones, tmp_path, end):
    """A signal when the new files are nearly in their places, or no room for them."""
    repo, state = bare_bones, bare_bones.state()
    lock = repo.path / ".git/config.lock"
    if end == "full disk":
        full = limited((repo.path / ".git/config").stat().st_size + 2000)
        assert_one_sentence(repo.nbdime_git("enable", ok=False, preexec_fn=full))
    else:
        (tmp_path / "bin").mkdir()
        git = tmp_path / "bin/git"  # the first look at the result is the end of who looks
        git.write_text(
            f'#!/bin/sh\ncase "$*" in *--show-origin*) kill -{end} $PPID; sleep 0.2;; esac\n'
            f'exec {shutil.which("git")} "$@"\n'
        )
        git.chmod(0o755)
        path = {"PATH": f"{tmp_path}/bin:{repo.env['PATH']}"}
        assert repo.nbdime_git("enable", env=path, ok=False).returncode != 0
    if end == "KILL":  # as any git that is killed does
        assert_one_sentence(repo.nbdime_git("enable", ok=False), f"remove {lock}")
        lock.unlink()
    assert repo.state() == state
    for command in ("enable", "disable"):
        repo.nbdime_git(command)
    assert repo.state() == state


# ------------------------------------------------------------------ diff

FIGURE = [
    {"output_type": "stream", "name": "stdout", "text": ["hello\n"]},
    {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": "iVBORw0KGgo" * 50, "text/plain": ["<Figure>"]},
    },
]


@pytest.mark.claims(
    "One command makes ``git diff``",
    "Now ``git diff`` shows the changes of a notebook cell by cell,",
    "``git diff`` - on a terminal, changed cells and outputs; in a pipe or file, a normal patch",
    "To read the readable form in a pager or a file, ask for it: ``NBDIME_GIT_READABLE=1 git "
    "diff``.",
    "nbdime compares outputs too, so they can stay.",
)
def test_on_a_terminal_git_diff_is_readable_and_coloured(repo):
    """As git is told to colour it, and nbdime to show it."""
    repo.write(nb=TWO)
    for pager in ("cat", "sed ''"):
        shown = on_terminal(repo, "git", "diff", GIT_PAGER=pager)
        assert_is_readable(shown)
        assert "\x1b[" in shown
        shown = on_terminal(repo, "git", "-c", "color.diff=false", "diff", GIT_PAGER=pager)
        assert_is_readable(shown)
        assert "\x1b[" not in shown
    as_json = on_terminal(repo, "git", "diff", NBDIME_GIT_READABLE="0", GIT_PAGER="cat")
    assert '"source": [' in as_json
    repo.git("config", "--global", "diff.external", "false")  # this does not get in between
    assert_is_readable(repo.readable("diff").stdout)
    assert assert_diff_is_gits_own(repo)
    assert "\x1b[" not in repo.readable("diff").stdout
    assert "\x1b[" in repo.readable("-c", "color.ui=always", "diff").stdout
    repo.write(nb=json.dumps(json.loads(ONE), indent=2))
    assert "nothing to show" in repo.readable("diff").stdout
    cells = ("import math\nradius = 1", "print(radius)", "1 + 1")
    repo.write(nb=code(*cells, outputs={1: FIGURE[:1]}))
    assert "## inserted before /cells/1/outputs/0" in repo.readable("diff").stdout
    own = repo.path.parent / "home/.jupyter"
    own.mkdir()
    (own / "nbdime_config.json").write_text('{"Diff": {"outputs": false}}')
    shown = repo.readable("diff").stdout
    assert "/cells/1/outputs" not in shown and "nothing to show" in shown


def test_a_notebook_that_steers_a_terminal_is_written_out(repo):
    """In its file all that is escaped, so git alone shows nothing of the kind."""
    order = "\x1b]0;title\x07\x1b[2J\u202e\x9b"
    repo.branches(code("one"), code("ours"), code(f"theirs {order}"))
    repo.git("merge", "other", ok=False)
    for command in (
        ("mergetool", "--tool=nbdime"),
        ("difftool", "--no-prompt", "--tool=nbdime", "main", "other"),
        ("diff", "main", "other"),
        ("log", "-p", "-1", "other"),
    ):
        done = repo.readable(*command, ok=False, stdin=subprocess.DEVNULL)
        assert "\\x1b]0;title\\x07" in done.stdout, command
        assert not set(done.stdout) & {*order} - {*"]0;title[2J"}, command


def test_a_name_that_steers_a_terminal_is_written_out(repo):
    """nbdime-git names the file of which it reports a conflict. git names it too, as it is."""
    repo.branches(code("one"), code("ours"), code("theirs"), name="\x1b]0;title\x07")
    lines = repo.git("merge", "other", ok=False).stderr.splitlines()
    ours = [line for line in lines if line.startswith("nbdime-git: ")]
    assert ours and "\\x1b]0;title\\x07.ipynb: 1 conflict" in ours[0] and "\x1b" not in ours[0]


@pytest.fixture
def changed(repo):
    """Notebooks that have changed in their text, only in spaces, or in their mode, or have gone;
    with odd names, and in a folder; and a text file.
    """
    odd = {'it\'s ü "q"', "-dash", "tab\there", "star*", "per%cent", 'sub/in ä "q"'}
    (repo.path / "sub").mkdir()
    (repo.path / "text.txt").write_text("one\n")
    names = odd | {"gone", "mode", "spaces", "old-name", "original"}
    repo.write(**dict.fromkeys(names, ONE))
    repo.commit()
    repo.write(spaces=ONE.replace("1 + 1", "1  +  1"))
    repo.write(**dict.fromkeys(odd | {"nb", "mode", "original"}, TWO))
    (repo.path / "mode.ipynb").chmod(0o755)
    (repo.path / "gone.ipynb").unlink()
    (repo.path / "text.txt").write_text("two\n")
    return repo


@pytest.mark.claims(
    "`nbdime-git` writes a patch there, with `--no-ext-diff` or without.",
    "The second command says nothing: the patch fits. It is a normal patch: ``git apply`` "
    "takes it on computers without nbdime, too.",
)
def test_a_redirected_diff_is_gits_own_patch_and_applies(changed):
    repo, sub = changed, changed.path / "sub"
    repo.git("mv", "old-name.ipynb", "sub/new-name.ipynb")
    repo.write(**{"sub/new-name": TWO, "copy": TWO, "fresh": TWO})
    repo.git("add", "-A")
    for arguments in (
        ["HEAD"],
        ["--cached", "-C", "-C"],
        ["HEAD", "--no-renames"],
        ["HEAD", "--relative=sub"],
        ["HEAD", "--", "sub"],
        ["HEAD:nb.ipynb", "spaces.ipynb"],
    ):
        assert assert_diff_is_gits_own(repo, *arguments)
    coloured = ("-c", "color.ui=always", "diff", "HEAD")
    own = ("--no-ext-diff", "--", "text.txt")
    assert "\x1b[" not in repo.git(*coloured, "--", "nb.ipynb").stdout
    assert "\x1b[" in repo.git(*coloured, *own).stdout
    applied = repo.git("apply", "--cached", "--check", "-R", input=repo.git("diff", "HEAD").stdout)
    assert applied.stdout == applied.stderr == ""
    repo.git("apply", "--cached", "--check", input=repo.git("diff", "HEAD", "-R").stdout)
    patch = repo.git("-c", "diff.noprefix=true", "diff", "HEAD", "--", ":/", cwd=sub).stdout
    expected = repo.git("ls-files", "-s").stdout
    repo.git("reset", "-q", "--hard")
    repo.git("apply", "-p0", "--index", input=patch)
    assert repo.git("ls-files", "-s").stdout == expected


SHAPES = (
    "--no-prefix|--no-prefix -R|-R|--src-prefix=old/ --dst-prefix=new/|--src-prefix old/|"
    "--line-prefix=>|-U0|-w|-bW|-wR|-B1%|--full-index|--binary --abbrev=20|--word-diff|"
    "--color=always|-I radius|--ignore-blank-lines|--stat|-w --stat|-w --name-only|-w --numstat|"
    "-S --no-prefix|-D|--relative=sub"
)
SETTINGS = (
    "diff.noprefix=true",
    "diff.mnemonicPrefix=true",
    "diff.srcPrefix=old/",
    "core.quotePath=false",
    "diff.context=1",
    "diff.relative=true",
)


@pytest.mark.claims(
    "It has the shape that your options and settings of git ask for, such as ``git diff "
    "--no-prefix``."
)
def test_a_patch_has_the_shape_that_git_was_asked_for(changed):
    """Each option and setting gives what git gives without a driver: a notebook's part must fit the
    parts of other files.
    """
    repo, sub = changed, changed.path / "sub"
    for options in SHAPES.split("|"):
        assert_diff_is_gits_own(repo, *options.split())
    for setting in SETTINGS:
        compared = [[], ["-R", "HEAD", "--", "."], ["--cached"], ["HEAD~", "HEAD"]]
        for words in compared if "mnemonic" in setting else compared[:2]:
            ours, gits = (
                repo.git("-c", setting, *command, *words, cwd=sub).stdout
                for command in (["diff"], NATIVE)
            )
            assert ours == gits, (setting, words)
    for folder in (repo.path, sub):  # a file that git itself writes
        for name, command in (("ours", ["diff"]), ("gits", NATIVE)):
            done = repo.git(*command, f"--output={name}", "--", "*.ipynb", "*.txt", cwd=folder)
            assert done.stdout == "" == done.stderr
        assert (folder / "ours").read_text() == (folder / "gits").read_text() != ""


def old_git():
    """Whether this git is older than 2.46, the first that asks a driver whether something has
    changed.
    """
    version = subprocess.check_output(["git", "version"], text=True)
    return tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 46)


@pytest.mark.claims(
    "``git diff --no-ext-diff --quiet -w`` compares lines, ignores whitespace, and returns 1 if "
    "something changed. Without ``--no-ext-diff``, a git older than 2.46 cannot return 1 for a "
    "changed notebook, and ends with the error 128."
)
def test_a_changed_notebook_is_never_called_the_same(changed):
    """Git before 2.46 returns 0 after -w and the like whatever a driver says, unless the driver
    fails.
    """
    one = ("--", "nb.ipynb")
    for options, blind in (
        (["--quiet"], False),
        (["--exit-code"], False),
        (["-w", "--quiet"], old_git()),
        (["-b", "--quiet"], old_git()),
        (["-I", "x", "--quiet"], old_git()),
        (["--ignore-blank-lines", "--quiet"], False),
    ):
        done = changed.git("diff", *options, *one, ok=False)
        assert done.returncode == (128 if blind else 1), options
        assert ("nb.ipynb has changed" in done.stderr) == blind, options
        assert "--quiet" not in options or done.stdout == ""
        assert changed.git(*NATIVE, *options, *one, ok=False).returncode == 1
    script = ["diff", "--no-ext-diff", "--quiet", "-w", "--"]
    for name, status in (("nb", 1), ("spaces", 0)):
        assert changed.git(*script, f"{name}.ipynb", ok=False).returncode == status
    done = changed.git("diff", "-w", "--exit-code", *one, ok=False)
    hinted = "status 1: git diff --no-ext-diff" in done.stderr
    assert (done.returncode, hinted) == ((0, True) if old_git() else (1, False))
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
    assert assert_diff_is_gits_own(repo)
    shown = repo.readable("diff").stdout
    assert_is_readable(shown)
    assert "secret" not in shown and "/cells/2" not in shown


@pytest.mark.claims(
    "When the environment is moved or removed one day, git falls back to its own diff",
    "falls back to its own diff and merge, and says what to run.",
)
@pytest.mark.parametrize("what", ["environment", "script"])
def test_without_the_environment_git_does_all_by_itself(bare_bones, movable, tmp_path, what):
    repo = bare_bones
    repo.script = shutil.copy(SCRIPT, tmp_path / "nbdime-git")
    repo.nbdime_git("enable")
    gone = movable if what == "environment" else Path(repo.script)
    gone.rename(tmp_path / "elsewhere")
    # Diffs and logs are git's own; the first line that misses it says so.
    repo.write(second=ONE)
    repo.commit()
    repo.write(nb=TWO, second=TWO)
    shown = repo.readable("diff")
    assert shown.stdout == repo.git(*NATIVE).stdout != ""
    assert shown.stderr.count(HINT) == 1 and len(shown.stderr.splitlines()) == 1
    assert "radius = 2" in on_terminal(repo, "git", "diff", GIT_PAGER="cat")
    assert repo.git("diff").stderr == ""
    repo.commit()
    assert "radius = 2" in repo.readable("log", "-p").stdout
    # A merge keeps both sides, as lines.
    repo.branches(abc(), abc(a="ours", c=2), abc(a="theirs"))
    done = repo.git("merge", "other", ok=False)
    assert done.returncode == 1 and "CONFLICT" in done.stdout and HINT in done.stderr
    lines = ("<<<<<<< ours", "a = 'ours'", "a = 'theirs'", ">>>>>>> theirs", "c = 2")
    assert_has(repo.notebook.read_text(), *lines)
    assert repo.git("status", "--short").stdout == "UU nb.ipynb\n"
    tool = repo.git("mergetool", "--tool=nbdime", ok=False, stdin=subprocess.DEVNULL)
    assert tool.returncode == 1 and HINT in tool.stderr
    repo.git("reset", "-q", "--hard", "HEAD~")
    repo.write(nb=code("a = 1", "b = 1", "c = 1", "d = 1"))
    repo.commit()
    repo.git("merge", "other")
    assert sources(repo.notebook) == ["a = 'theirs'", "b = 1", "c = 1", "d = 1"]
    # To enable it where it is now repairs all.
    if what == "environment":
        told = repo.nbdime_git("status", ok=False)
        assert told.returncode == 1 and "has gone" in told.stdout and HINT in told.stdout
        assert_one_sentence(repo.nbdime_git("enable", ok=False), movable)
        repo.nbdime_git("enable", "--prefix", tmp_path / "elsewhere")
        assert str(movable) not in repo.git("config", "--list").stdout
        assert "## modified" in repo.readable("diff", "HEAD~").stdout


def test_a_file_that_is_no_notebook_is_compared_as_text(repo):
    marks = '\n<<<<<<< ours\n"radius = 1"\n=======\n"radius = 2"\n>>>>>>> theirs\n'
    for content in (
        ONE.replace('"radius = 1"', marks),
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
    repo.notebook.write_bytes(ONE.encode("utf-16"))
    assert "Binary files" in repo.readable("diff").stdout


def large(seed):
    """A notebook of format 4.4 and 2 MB, with the seed's outputs: nbdime compares each of them with
    each.
    """
    dice = random.Random(seed)
    outputs = {
        number: [FIGURE[0] | {"text": [f"{dice.random()} {dice.random()}\n" for _ in range(1700)]}]
        for number in range(24)
    }
    notebook = json.loads(code(*(f"run({number})" for number in range(24)), outputs=outputs))
    for cell in notebook["cells"]:
        del cell["id"]
    return json.dumps(notebook | {"nbformat_minor": 4}, indent=1) + "\n"


@pytest.mark.claims(
    "On a terminal a line says so after two seconds; after 20 seconds, or 120 in a merge, git "
    "falls back in the same way."
)
def test_a_large_notebook_is_announced_and_bounded(repo):
    """nbdime alone takes half a minute without a word: after two seconds a line says what goes on,
    and git's own way ends it.
    """
    limits = dict(re.findall(r"^(\w+)_SECONDS = (\d+)", SCRIPT.read_text(), re.MULTILINE))
    assert limits == {"SILENT": "2", "DIFF": "20", "MERGE": "120"}
    repo.branches(large(1), large(2), large(3))
    env = {"NBDIME_GIT_READABLE": "1", "NBDIME_GIT_SECONDS": "3"}
    for command in (["diff", "main", "other"], ["merge", "other"]):
        done = repo.git(*command, env=env, ok=False, timeout=40)
        assert done.stderr.splitlines()[0] == (
            "nbdime-git: nb.ipynb takes nbdime more than 3 s; NBDIME_GIT_SECONDS=30 "
            f"gives it more. This is git's own {command[0]}"
        )
        if command[0] == "diff":
            assert done.stdout == repo.git(*NATIVE, "main", "other").stdout
    shown = on_terminal(repo, "git", "diff", "main", "other", GIT_PAGER="cat", **env)
    assert "nbdime-git: nb.ipynb is large: its cells are compared, for at most 3 s" in shown
    kept = {line.rstrip(",") for line in repo.notebook.read_text().splitlines()}
    for side in ("main", "other"):
        lines = repo.git("show", f"{side}:nb.ipynb").stdout.splitlines()
        assert {line.rstrip(",") for line in lines} <= kept, f"lines of {side} were lost"


def test_a_reader_that_goes_away_is_no_error(repo):
    repo.write(nb=code(*(f"line_{number} = {number}" for number in range(20000))))
    done = repo.run("sh", "-c", "NBDIME_GIT_READABLE=1 git diff | head -n 1")
    assert done.stdout.startswith("nbdiff a/nb.ipynb")
    assert messages(done) == []


# ------------------------------------------------------------------ log, show, blame, add -p, stash


@pytest.mark.claims(
    "``git log -p``, ``git show``, ``git blame`` - on a terminal, notebooks as text: sources, "
    "text outputs, one line for an image",
    "Cell ids and execution counts, the usual noise, are left out of ``git log -p`` already.",
)
def test_log_and_blame_show_text_to_people_and_json_to_programs(repo):
    # A cache could mix up the two.
    repo.git("config", "--global", "diff.jupyternotebook.cachetextconv", "true")
    repo.git("config", "log.decorate", "false")
    repo.write(nb=code("radius = 2", outputs={0: FIGURE}))
    repo.commit("two")
    plain = ("git", "-c", "color.ui=false")
    for shown in (
        on_terminal(repo, *plain, "log", "-p", "-1", GIT_PAGER="sed ''"),
        repo.readable("log", "-p", "-1").stdout,
        on_terminal(repo, *plain, "show", GIT_PAGER="cat"),
    ):
        assert_has(shown, "+radius = 2", "+hello", "+(image/png, 550 bytes, sha1 ")
        assert shown.count("550 bytes") == 1
        for noise in ("cell_type", "execution_count", "cell-0"):
            assert noise not in shown
    blame = on_terminal(repo, "git", "blame", "nb.ipynb", GIT_PAGER="sed ''")
    assert "radius = 2" in blame and "cell_type" not in blame
    for command in (["log", "-p"], ["show"]):
        shown = repo.git(*command).stdout
        assert shown == repo.git(*command, "--no-textconv").stdout and "cell_type" in shown
    assert "cell_type" in repo.git("blame", "-p", "nb.ipynb").stdout
    on_terminal(repo, "git", "show", "--output=written", GIT_PAGER="cat")
    assert repo.git("for-each-ref", "refs/notes").stdout == ""
    patch = repo.git("show").stdout
    assert (repo.path / "written").read_text() == patch
    repo.git("reset", "-q", "--hard", "HEAD~")
    repo.git("apply", input=patch)
    assert sources(repo.notebook) == ["radius = 2"]


@pytest.mark.claims("``git add -p`` - the JSON, as before: only that can be staged in parts")
def test_what_programs_read_of_a_notebook_stays_as_it_is(repo):
    """Whatever people want to read."""
    repo.env["NBDIME_GIT_READABLE"] = "1"
    repo.write(nb=TWO)
    assert "1 file changed" in repo.git("diff", "--stat").stdout
    shown = on_terminal(repo, "git", "-c", "color.ui=false", "add", "-p", stdin=b"y\n")
    shown = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert '+    "radius = 2"' in shown and "## modified" not in shown, "the JSON"
    assert repo.git("show", ":nb.ipynb").stdout == TWO
    repo.git("commit", "-qm", "two")
    repo.write(nb=ONE)
    on_terminal(repo, "git", "stash", "-p", stdin=b"y\n")
    assert repo.notebook.read_text() == TWO
    mail = repo.git("format-patch", "--stdout", "-1").stdout
    repo.git("reset", "-q", "--hard", "HEAD~")
    repo.git("am", input=mail)
    assert repo.notebook.read_text() == TWO


# ------------------------------------------------------------------ merge


@pytest.mark.claims(
    "One command makes ``git diff`` and ``git merge`` understand notebooks:",
    "and ``git merge`` merges cells rather than lines of JSON.",
    "``git merge``, ``git rebase``, ``git cherry-pick``, ``git stash pop`` - a merge by cells; a "
    "conflict is marked inside its cell, and the file stays a notebook that opens",
    "With nbdime the conflict stays inside its cell, and the file still opens. Open it, look for "
    "``<<<<<<<`` in the cells,",
)
@pytest.mark.parametrize("how", ["merge other", "rebase other", "cherry-pick other", "stash pop"])
def test_cells_are_merged_and_conflicts_are_marked(repo, how):
    for ours, theirs in ((abc(c=2), abc(b=3)), (abc(a="ours", c=2), abc(a="theirs", b=3))):
        if how == "stash pop":
            repo.write(nb=abc())
            repo.commit("base")
            repo.write(nb=theirs)
            repo.git("stash")
            repo.write(nb=ours)
            repo.commit("ours")
        else:
            repo.branches(abc(), ours, theirs)
        done = repo.git(*how.split(), ok=ours == abc(c=2))
        first, *rest = sources(repo.notebook)
        assert rest == ["b = 3", "c = 2"]
        if done.returncode == 0:
            assert first == "a = 1" and "CONFLICT" not in done.stdout
            repo.git("reset", "-q", "--hard")
            repo.git("branch", "-qD", "other", ok=how == "merge other")
    assert done.returncode == 1 and "CONFLICT" in done.stdout
    assert_has(first, "<<<<<<<", "a = 'ours'", "=======", "a = 'theirs'", ">>>>>>>")
    assert repo.git("status", "--short").stdout == "UU nb.ipynb\n"
    assert_has(repo.readable("diff").stdout, "ours", "theirs")


def test_cells_with_new_ids_on_both_sides_are_known_by_text(repo):
    """A program that upgrades a notebook, or makes it from text, gives other ids each time."""
    repo.branches(abc(), abc(a=2).replace('"cell-', '"new-'), abc(c=3).replace('"cell-', '"other-'))
    assert messages(repo.git("merge", "other")) == []
    assert sources(repo.notebook) == ["a = 2", "b = 1", "c = 3"]
    cells = json.loads(repo.notebook.read_text())["cells"]
    assert [cell["id"] for cell in cells] == ["new-0", "new-1", "other-2"]


def test_what_nbdime_cannot_merge_is_merged_as_text(repo):
    """And keeps both sides."""

    def both(name, texts, *words):
        repo.branches(*texts, name=name)
        done = repo.git("merge", "other", ok=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done
        assert_has((repo.path / f"{name}.ipynb").read_text(), "'ours'", "'theirs'")
        assert_has(done.stderr, *words)
        repo.git("reset", "-q", "--hard")
        repo.git("branch", "-qD", "other")

    both("no-notebook", ("{\n1\n", "{\n'ours'\n", "{\n'theirs'\n"))
    cell = '{"cell_type": "code", "outputs": [], "input": ["%s"]}'
    old = '{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [\n'
    old += cell + "\n]}]}\n"
    both("old", (old % 1, old % "'ours'", old % "'theirs'"), "has notebook format 3, not 4")
    # One side removes the cell that the other edits: nbdime keeps the removal in silence.
    base, ours, theirs = (json.loads(abc())["cells"] for _ in range(3))
    ours = [ours[1] | {"source": ["b = 1\n", "x = 'ours'"]}, ours[2]]
    theirs = [theirs[0] | {"attachments": {}, "source": ["x = 'theirs'"]}, theirs[2]]
    sides = (json.loads(abc()) | {"cells": cells} for cells in (base, ours, theirs))
    both("removed", [json.dumps(side, indent=1) + "\n" for side in sides])


@pytest.mark.claims("A merge keeps both sides in every case.")
def test_no_random_merge_loses_a_line(repo, tmp_path):
    """300 pairs of random edits through the driver as git calls it: what either side added is
    there, and the notebook is valid.

    Every other pair mixes the formats 4.0 to 4.5, which differ in whether a cell has an id; some
    have no base.
    """
    script = ROOT / "tests/data/commands/merge_fuzz.py"
    done = repo.run(ENVIRONMENT / "bin/python", script, SCRIPT, "300", cwd=tmp_path)
    counts = json.loads(done.stdout)
    assert counts["bad"] == [] and min(counts["clean"], counts["conflict"]) > 50, counts
    assert counts["text"] > 0


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
    repo.branches(abc(), abc(a=2, b="ours"), abc(b="theirs", c=3))
    assert repo.git("show", "main:nb.ipynb", "other:nb.ipynb").stdout.count("pointer") == 2
    return repo


@pytest.mark.claims(
    "Notebooks that git stores through a filter, as Git LFS does, are compared and merged all the "
    "same."
)
def test_notebooks_behind_a_filter_are_merged_and_compared(shelved):
    done = shelved.git("merge", "other", ok=False)
    assert "1 conflict, marked with <<<<<<< in the cells" in done.stderr
    assert len(messages(done)) == 1
    first, conflict, last = sources(shelved.notebook)
    assert_has(conflict, "<<<<<<<", "b = 'ours'", "b = 'theirs'")
    assert (first, last) == ("a = 2", "c = 3")
    shelved.write(nb=abc(2, "both", 3))
    shelved.commit()
    assert shelved.git("show", "HEAD:nb.ipynb").stdout.startswith("pointer ")
    shelved.git("checkout", "-q", "other")
    shelved.git("merge", "-q", "main")
    assert shelved.notebook.read_text() == abc(2, "both", 3)
    shelved.write(nb=abc(2, "both", 4))
    shown = shelved.readable("diff")
    assert messages(shown) == [] and "-  c = 3\n+  c = 4" in shown.stdout
    assert "cells/1" not in shown.stdout
    assert assert_diff_is_gits_own(shelved)


@pytest.mark.claims(
    "Where the filter does not work, a merge leaves them as they are, says so, and you take one "
    "side."
)
@pytest.mark.parametrize("missing", ["filter", "content", "attribute", "nbdime", "storage"])
def test_what_a_filter_made_of_a_notebook_is_never_merged(shelved, movable, missing):
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
        shelved.nbdime_git("enable")
        movable.unlink()
    elif missing == "storage":
        shelved.git("config", "filter.shelf.clean", "cat")
    before = shelved.notebook.read_bytes()
    done = shelved.git("merge", "other", ok=False)
    said = [line for line in messages(done) if line.startswith("nbdime-git")]
    [told] = [line for line in said if HINT not in line]
    assert done.returncode == 1
    assert told.endswith("Take one side: git checkout --ours or --theirs nb.ipynb")
    assert shelved.notebook.read_bytes() == before
    assert len(shelved.git("ls-files", "-u").stdout.splitlines()) == 3
    if missing == "filter":
        assert "so this is git's own diff" in shelved.readable("diff", "main", "other").stderr


def test_a_binary_file_stays_a_conflict_with_both_sides(repo):
    """Both sides stand in the index."""
    for content, branch in ((ONE, "main"), (abc(), "other"), (TWO, "main")):
        repo.git("checkout", "-q", *(["-b"] if branch == "other" else []), branch)
        repo.notebook.write_bytes(content.encode("utf-16"))
        repo.commit()
    done = repo.git("merge", "other", ok=False)
    assert done.returncode == 1 and "--theirs nb.ipynb" in done.stderr
    assert len(repo.git("ls-files", "-u").stdout.splitlines()) == 3
    assert repo.notebook.read_bytes() == TWO.encode("utf-16")


def test_a_full_disk_during_a_merge_loses_nothing(repo):
    repo.branches(code("a = 1"), code("a = 'ours'"), code(*["a = 'theirs'"] * 200))
    folder = repo.path.parent / "limited"
    folder.mkdir()
    for name, rev in (("O", "main~:nb.ipynb"), ("A", "main:nb.ipynb"), ("B", "other:nb.ipynb")):
        (folder / name).write_text(repo.git("show", rev).stdout)
    driver = repo.git("config", "merge.jupyternotebook.driver").stdout
    words = {"%O": "O", "%A": "A", "%B": "B", "%L": "7", "%P": "nb.ipynb", "%%": "%"}
    driver = re.sub("%.", lambda found: words[found[0]], driver)
    done = repo.run("sh", "-c", driver, cwd=folder, ok=False, preexec_fn=limited(2000))
    assert done.returncode > 128, done  # git stops the merge at such a status
    assert (folder / "A").read_text() == code("a = 'ours'")
    assert sorted(os.listdir(folder)) == ["A", "B", "O"]


# ------------------------------------------------------------------ the tools


def test_the_tools_without_a_browser_show_the_conflict_and_end(repo):
    repo.branches(abc(), abc(a="ours"), abc(a="theirs"))
    tool = ("mergetool", "--tool=nbdime")
    repo.git("merge", "other", ok=False)
    conflicted = repo.notebook.read_bytes()
    done = repo.git(*tool, ok=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    words = ("ours", "theirs", "1 conflict to settle", "git add -- nb.ipynb")
    assert_has(done.stdout + done.stderr, *words)
    assert "successful" not in done.stdout, "git asked whether the merge was successful"
    assert repo.notebook.read_bytes() == conflicted
    assert repo.git("status", "--short").stdout == "UU nb.ipynb\n", "files were left behind"
    both = repo.git("difftool", "--no-prompt", "--tool=nbdime", "main", "other")
    assert_has(both.stdout, "ours", "theirs", "## modified /cells/0/source")
    # A conflict of lines that was made when the environment was away is none for nbdime.
    repo.git("merge", "--abort")
    repo.git("branch", "-qD", "other")
    repo.branches(abc(), abc(a=2), abc(b=3))
    repo.git("-c", "merge.jupyternotebook.driver=false", "merge", "other", ok=False)
    repo.git(*tool, stdin=subprocess.DEVNULL)
    assert sources(repo.notebook) == ["a = 2", "b = 3", "c = 1"]
    assert repo.git("status", "--short").stdout == "M  nb.ipynb\n?? nb.ipynb.orig\n"


# Asks nbdime's page, then closes it, as its button does.
BROWSER = """#!/usr/bin/env python3
import http.cookiejar, re, sys, urllib.request
cookies = http.cookiejar.CookieJar()
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
page = opener.open(sys.argv[1]).read()
open("../page", "wb").write(sys.argv[1].encode() + page)
close = re.sub("/(merge|diff)tool.*", "/api/closetool", sys.argv[1])
headers = {"X-XSRFToken": next(cookie.value for cookie in cookies if cookie.name == "_xsrf")}
opener.open(urllib.request.Request(close, data=b'{"exitCode": 1}', headers=headers))
"""


@pytest.mark.claims(
    "``git mergetool --tool=nbdime``, ``git difftool --tool=nbdime`` - both sides next to each "
    "other, in a browser where there is one, otherwise as text",
    "``git mergetool --tool=nbdime`` shows both sides next to each other instead.",
)
def test_the_tools_open_a_browser_where_there_is_one(repo, tmp_path):
    repo.branches(abc(), abc(a="ours"), abc(a="theirs"))
    repo.git("merge", "other", ok=False)
    browser, page = tmp_path / "browser", tmp_path / "page"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    for tool, words in (("mergetool", ()), ("difftool", ("--no-prompt", "main", "other"))):
        command = ("timeout", "50", "git", tool, "--tool=nbdime", *words)  # if the page stays open
        done = repo.run(*command, env={"BROWSER": str(browser)}, ok=False, stdin=subprocess.DEVNULL)
        assert done.returncode == (1 if tool == "mergetool" else 0)
        assert f"/{tool}".encode() in page.read_bytes() and b"nbdime" in page.read_bytes()


@pytest.mark.claims(
    "From then on git runs, as you, the programs that the settings of the repository name: trust "
    "it only if you trust all who may write into its ``.git``."
)
def test_git_runs_what_a_trusted_folder_of_others_names(triton):
    user, other = triton.account(), triton.account()
    shared = other.run("echo $WRKDIR/shared").strip()
    other.run(f"git init --quiet {shared}; git -C {shared} config core.fsmonitor 'touch ~/ran; :'")
    assert "dubious ownership" in user.tries(f"git -C {shared} status").stderr
    assert user.tries("ls ran").returncode
    user.run(f"git config --global --add safe.directory {shared}; git -C {shared} status")
    assert not user.tries("ls ran").returncode


def test_settings_in_a_repository_of_others_count_for_nothing(repo, tmp_path):
    """They would name a program as browser, hide changes, and have a merge drop a side."""
    settings = {
        "Web": {"browser": "touch ../planted %s"},
        "Diff": {"sources": False},
        "Merge": {"merge_strategy": "use-remote"},
    }
    (repo.path / "nbdime_config.json").write_text(json.dumps(settings))
    repo.branches(abc(), abc(a="ours"), abc(a="theirs"))
    assert_has(repo.readable("diff", "main", "other").stdout, "ours", "theirs")
    assert repo.git("merge", "other", ok=False).returncode == 1
    assert_has(repo.notebook.read_text(), "ours", "theirs")
    browser = tmp_path / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    for tool, words in (("mergetool", ()), ("difftool", ("--no-prompt", "main", "other"))):
        command = ("timeout", "20", "git", tool, "--tool=nbdime", *words)
        repo.run(*command, env={"BROWSER": str(browser)}, ok=False, stdin=subprocess.DEVNULL)
        assert (tmp_path / "page").exists() and not (tmp_path / "planted").exists()


@pytest.mark.claims("In a browser, nbdime answers you alone.")
def test_the_page_of_the_tools_answers_nobody_else(triton):
    """nbdime asks for no password, and would send any notebook of its user."""
    user, other = triton.account(), triton.account()
    for name in ("one", "two"):
        user.write(f"~/{name}.ipynb", json.dumps(abc(a=name)))
    user.run(
        "git init --quiet a; cd a; git config user.name me; git config user.email me@here; "
        "for name in one two; do cp ../$name.ipynb n.ipynb; git add .; "
        "git commit --quiet --message=$name; done; nbdime-git enable"
    )
    look = "ss --no-header --listening --tcp --numeric --processes | grep python3"
    tool = triton.start(
        "login",
        "cd a; BROWSER=true timeout 60 git difftool --no-prompt --tool=nbdime HEAD~ HEAD",
        user,
    )
    try:
        user.wait_until(look)
        [port] = re.findall(r"127.0.0.1:(\d+)", user.run(look))
        asks = f"curl --silent --output /dev/null http://127.0.0.1:{port}/difftool; echo $?"
        assert user.run(asks) == "0\n" and other.run(asks) != "0\n"
    finally:
        triton.run("login", f"pkill --uid {user} --full driver-difftool", check=False)
        tool.wait(timeout=60)
