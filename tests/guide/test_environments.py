"""What the page on environments says beside its blocks."""

import re
import shlex
import tomllib

import pytest

from tools import pages
from tools.cluster import cluster
from tools.files import ROOT
from tools.proof.reader import NOT_RUN

PAGE = "triton/apps/jupyter/environments.rst"
PROJECT = (ROOT / "triton/apps/jupyter/pyproject.toml").read_text(encoding="utf-8")
JOB = pages.filled("triton/apps/jupyter/weather.sh")
SETUP = f"""set -e
module load {cluster.facts().modules.python}
python3 -m venv $WRKDIR/uv
$WRKDIR/uv/bin/pip install --quiet uv
mkdir $WRKDIR/weather; cd $WRKDIR/weather
printf %s {shlex.quote(PROJECT)} > pyproject.toml
printf %s {shlex.quote(JOB)} > weather.sh
$WRKDIR/uv/bin/uv sync --quiet
.venv/bin/python -m ipykernel install --user --name weather --display-name Weather"""
FOLDER = "set -e; PATH=$WRKDIR/uv/bin:$PATH; cd $WRKDIR/weather\n"
JUPYTER = f"module load {cluster.facts().modules.jupyter}\n"


@pytest.fixture(scope="module")
def user(triton):
    """Someone who has made the environment of the page."""
    name = triton.account()
    triton.run("login", SETUP, name)
    return name


@pytest.mark.claims(
    "Kernel and job have the same packages, in the same versions.",
    "The same environment is then your kernel and your batch job's Python,",
    "The job loads no module and activates nothing: the full path of its ``python`` is enough.",
    "save this as ``weather.sh``, beside a program ``mean.py``.",
)
def test_kernel_and_job_have_the_same_environment(triton, user):
    versions = (
        "from importlib.metadata import distributions as every\n"
        "print(sorted(f'{one.name}=={one.version}' for one in every()))\n"
    )
    output = triton.run(
        "login",
        f"{FOLDER}{JUPYTER}printf %s {shlex.quote(versions)} > mean.py\n"
        "sbatch --wait --quiet weather.sh\ncat weather.out\njupyter run --kernel=weather mean.py",
        user,
    ).stdout
    job, kernel = output.splitlines()
    assert job == kernel
    assert not re.search("module|activate", JOB)
    assert "numpy==" in job


@pytest.mark.claims(
    "``uv`` finds versions that fit together, writes all of them into a lock file, and makes an "
    "environment of it.",
    "Two things are new in the folder. ``.venv`` is the environment. ``uv.lock`` is the lock "
    "file: the exact version of each "
    "package, "
    "those too that yours need.",
    "It names a version of Python, the packages that you import yourself, ``ipykernel`` "
    "among them, "
    "and Linux,",
    "An environment stands on the Python that it was made with:",
    "where it shall keep what it downloads: not in your home directory, which has {{ "
    "quota.home }}.",
    "when the module ``{{ modules.python }}`` becomes a newer one, or the nodes get a new "
    "system, it breaks. Let ``uv`` bring a Python of your own, before the first ``uv sync``:",
    "In ``$WRKDIR`` they have room; your home directory has {{ quota.home }}.",
    "Get ``uv``, once:",
    "keeps a lock file by itself, as ``uv`` does.",
    "It lies in a folder of yours, which you alone change.",
)
def test_the_lock_file_has_every_package_of_the_environment(user):
    project = tomllib.loads(PROJECT)
    python, own = project["project"]["requires-python"], project["project"]["dependencies"]
    assert "ipykernel" in own and project["tool"]["uv"]["environments"] == [
        "sys_platform == 'linux'"
    ]
    lock = tomllib.loads(user.run("cat $WRKDIR/weather/uv.lock"))
    locked = {f"{one['name']}=={one.get('version')}" for one in lock["package"]}
    there = user.run(f"{FOLDER}uv pip freeze").split()
    assert len(there) > len(own) and set(there) <= locked
    new = "mkdir $WRKDIR/new; cp pyproject.toml $WRKDIR/new; cd $WRKDIR/new; uv sync --quiet; ls -A"
    assert user.run(f"{FOLDER}{new}").split() == [".venv", "pyproject.toml", "uv.lock"]
    link = user.run(
        f"{FOLDER}.venv/bin/python --version; readlink -f .venv/bin/python; "
        f"module load {cluster.facts().modules.python}; readlink -f $(type -P python3)"
    ).splitlines()
    assert link[0].split()[1].startswith(python.strip("=*.")) and link[1] == link[2]
    kept = [line for line in pages.read(PAGE).splitlines() if "UV_CACHE_DIR=" in line]
    export = re.search(r"echo '(.*?)'", kept[0])[1]
    caches = user.run(f"{FOLDER}uv cache dir; {export}; uv cache dir").split()
    assert caches[0].startswith(f"{cluster.facts().paths.home}/")
    assert caches[1].startswith(f"{cluster.facts().paths.work}/")
    own = re.search(r"export (UV_PYTHON_INSTALL_DIR=\S+)\n +uv python install", pages.read(PAGE))[1]
    place = user.run(f"{FOLDER}{own} uv python dir").strip()
    assert place == f"{cluster.facts().paths.work}/{user}/uv/python"


@pytest.mark.claims("Nobody else can read it there: some packages are not for everybody.")
def test_nobody_else_reads_what_uv_keeps(triton, user):
    make = re.search(r"mkdir -m .*/uv/cache", pages.read(PAGE))[0]
    export = re.search(r"echo '(.*UV_CACHE_DIR=.*?)'", pages.read(PAGE))[1]
    user.run(f"{FOLDER}{make}; {export}; uv sync --quiet --reinstall")
    kept = f"{cluster.facts().paths.work}/{user}/uv/cache"
    assert user.run(f"ls {kept}") != ""
    assert "Permission denied" in triton.account().tries(f"ls {kept}").stderr


@pytest.mark.claims(
    "Its lock is a file in ``/tmp``, and somebody else can hold it. With ``TMPDIR=$WRKDIR`` before "
    "``uv sync`` it is in a folder of yours."
)
def test_nobody_else_holds_the_lock_of_uv(triton, user):
    sync = "uv sync --quiet"
    look = f"find /tmp -maxdepth 1 -name 'uv-*.lock' -user {user}"
    lock = user.run(f"{FOLDER}{look} -delete; {sync}; {look}").strip()
    stranger = triton.account()
    holder = stranger.run(f"flock {lock} sleep 300 > /dev/null 2>&1 & echo $!").strip()
    stranger.wait_until(f"! flock --nonblock {lock} true")
    try:
        assert user.tries(f"{FOLDER}timeout 10 {sync}").returncode == 124
        user.run(f"{FOLDER}TMPDIR=$WRKDIR {sync}")
    finally:
        stranger.run(f"pkill -P {holder}")


@pytest.mark.claims(
    "This adds the package to ``pyproject.toml``, to the lock file and to the environment. "
    "``uv remove`` takes it out again. The versions of the others stay as they are until you ask "
    "for newer ones, with ``uv lock --upgrade``, and then ``uv sync``. Restart the kernel "
    "afterwards.",
    "Keep ``pyproject.toml`` and ``uv.lock`` :doc:`in git </scicomp/git>`, and leave "
    "``.venv`` out: "
    "it can be made again.",
    "``--locked`` takes the versions of the lock file, or says that ``pyproject.toml`` asks for "
    "something else by now.",
    "After a year, on another cluster, or in a colleague's account, with the two files:",
)
def test_a_package_comes_and_goes_and_nothing_else_changes(user):
    """An older version that the lock file has stays there until newer ones are asked for."""
    look = (
        "grep -l cycler pyproject.toml uv.lock; ls .venv/lib/python*/site-packages | grep ^cycler"
    )
    before = user.run(f"{FOLDER}cp uv.lock first; cat uv.lock")
    assert user.run(f"{FOLDER}uv add --quiet cycler; {look}").split()[:2] == [
        "pyproject.toml",
        "uv.lock",
    ]
    assert "cycler" in user.run(f"{FOLDER}ls .venv/lib/python*/site-packages")
    user.run(f"{FOLDER}uv remove --quiet cycler; ! {{ {look}; }}")
    assert user.run(f"{FOLDER}cat uv.lock") == before
    user.run(f"{FOLDER}uv lock --quiet --upgrade; uv sync --quiet")
    user.run(f"{FOLDER}rm -r .venv; uv sync --quiet --locked; .venv/bin/python -c 'import numpy'")
    two = "mkdir $WRKDIR/again; cp pyproject.toml uv.lock $WRKDIR/again; cd $WRKDIR/again"
    user.run(f"{FOLDER}{two}; uv sync --quiet --locked; .venv/bin/python -c 'import numpy'")
    add = """sed -i 's/"numpy"/"numpy", "cycler"/' pyproject.toml"""
    refused = user.tries(f"{FOLDER}cp pyproject.toml was; {add}; uv sync --locked")
    user.run(f"{FOLDER}mv was pyproject.toml")
    assert refused.returncode and "needs to be updated" in refused.stderr, refused.stderr


@pytest.mark.claims(
    "what it installs stands in no file, so the next ``uv sync`` removes it",
    "In this environment it says ``No module named`` pip.",
    "``!pip install`` is worse: it is the ``pip`` of Jupyter, not that of your kernel.",
    "Not ``%pip`` in a notebook: what it installs stands in no file, so the next ``uv "
    "sync`` removes it, and nobody can make the environment again.",
)
def test_pip_in_a_notebook_leaves_no_trace_in_the_lock_file(triton, user):
    cells = "echo '%pip install cycler' | jupyter run --kernel=weather 2>&1\n"
    assert "No module named pip" in triton.run("login", FOLDER + JUPYTER + cells, user).stdout
    which = "echo '!head -1 $(type -P pip)' | jupyter run --kernel=weather\n"
    shebang = triton.run("login", FOLDER + JUPYTER + which, user).stdout
    assert cluster.facts().paths.jupyter_env in shebang
    removed = triton.run(
        "login",
        f"{FOLDER}uv pip install --quiet pip\n.venv/bin/pip install --quiet cycler\n"
        "grep cycler uv.lock pyproject.toml || uv sync 2>&1",
        user,
    )
    assert " - cycler==" in removed.stdout


@pytest.mark.claims(
    "An environment itself does not move: its commands hold the path at which it",
    "its commands hold the path at which it was made. So copy the two files, and make it "
    "where it will be.",
)
def test_an_environment_does_not_move(triton, user):
    moved = triton.run(
        "login",
        f"{FOLDER}cp -r .venv $WRKDIR/moved\nmv .venv gone\n"
        "$WRKDIR/moved/bin/ipython --version || echo broken\nmv gone .venv",
        user,
    )
    assert "broken" in moved.stdout


@pytest.mark.claims(
    "let others read it:",
    "Each member makes a kernel of it",
    "All have the same",
    "Keep it in a folder of your own, as above, and let others read it:",
    "Each member makes a kernel of it with ``{{ paths.work "
    "}}/username/weather/.venv/bin/python -m ipykernel install --user``, and your name in "
    "it. All have the same packages.",
    "With the second line, whoever knows the name of another file in ``$WRKDIR`` reads it too, if "
    "its own letters allow it: :ref:`let nobody read your other folders <data-read>`.",
)
def test_a_group_shares_an_environment(triton, user):
    """Nobody but its owner changes it, whatever umask it was made with."""
    member, folder = triton.account(), f"{cluster.facts().paths.work}/{user}/weather"
    opened = "chmod -R go+w $WRKDIR/weather; chmod go= $WRKDIR; echo known > $WRKDIR/known"
    triton.run("login", opened, user)
    section = pages.read(PAGE).partition("_environment-group:")[2].partition(".. _")[0]
    for command in re.findall(r"weather\$ (.*)", section):
        triton.run("login", FOLDER + command, user)
    output = triton.run(
        "login",
        f"set -e\n{JUPYTER}{folder}/.venv/bin/python -m ipykernel install --user --name group\n"
        "echo 'import numpy, sys; print(sys.prefix)' | jupyter run --kernel=group\n"
        f"cat {folder}/../known; find {folder}/ -writable ! -type l | grep . || echo read-only\n"
        f"mv {folder} {folder}.was || echo stays",
        member,
    ).stdout
    assert f"{folder}/.venv\nknown\nread-only\nstays" in output


@pytest.mark.claims(
    "each of them could put another environment in the place of yours,",
    "Not in a folder where members of your group may write: each of them could put another "
    "environment in the place of yours, and the kernels of all would run it.",
)
def test_who_writes_above_an_environment_replaces_it(triton, user):
    """Though the environment itself is for its owner alone to write."""
    member, group = triton.account(), f"{cluster.facts().paths.scratch}/group"
    triton.run("login", f"mkdir -m 777 {group}")
    triton.run("login", f"mkdir {group}/env", user)
    change = f"cd {group}; touch env/x || echo read-only; mv env was; mkdir env; touch env/mine"
    assert triton.run("login", change, member).stdout == "read-only\n"
    assert triton.run("login", f"ls {group}/env", user).stdout == "mine\n"


@pytest.mark.claims(
    "``geo.txt`` is the lock file:",
    "Your terminal does not find conda? A module brings it; this lists those with conda in their "
    "name:",
    "Make it in a job, with the whole conda line behind ``srun -p {{ partitions.interactive }} "
    "--mem=8G --time=1:00:00``.",
    "But for the list of modules, nothing in this section was run to prove it: the small cluster "
    "has no conda.",
)
def test_conda_is_not_run_but_its_job_is(user):
    """The lines name one lock file, and only the first asks for a channel."""
    assert user.tries("type conda").returncode
    [make, lists, again] = next(
        lines.split("; ") for lines in NOT_RUN[PAGE] if lines.startswith("conda create")
    )
    assert "--override-channels --channel conda-forge" in make
    assert lists.endswith(" --explicit > geo.txt") and again.endswith(" --file geo.txt")
    assert re.search(r"with (\w+) in their name:[^$]*\$ module avail \1\n", pages.read(PAGE))
    [options] = re.findall(r"conda line behind\s+``srun (.*?)``", pages.read(PAGE))
    assert user.run(f"srun {options} echo made").strip() == "made"
