"""Compare our speed with that of the plain tools: `make bench`.

Each line shows the medians of both, and the median of the ratios of runs made in turn, beside the
most it may be. Names on the command line choose some: site, notebooks, pairs, scale, numpy, slurm,
nbdime-git, imports, cluster, sjupyter, hub, hub-faults, hub-numbers.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tools.bench.measure import PYTHON, compare, seconds
from tools.cluster import cluster, hub, hub_faults
from tools.cluster.checkout import BATCH, ON_SLURM, check_out, notebook
from tools.cluster.small_triton import Triton
from tools.files import ROOT

BARE_CONF = """
extensions = ["myst_nb"]
html_theme = "sphinx_rtd_theme"
nb_execution_mode = "off"
include_patterns = ["index.rst", "triton/**", "scicomp/**", "notebooks/**"]
exclude_patterns = ["notebooks/*.md", "notebooks/data/**"]
"""

SCRIPTS = Path(__file__).resolve().parent / "scripts"


def script(name: str, **values: object) -> str:
    """The shell script of this name, below lines that set the variables that it reads."""
    settings = "".join(f"export {key}={shlex.quote(str(value))}\n" for key, value in values.items())
    return settings + (SCRIPTS / name).read_text(encoding="utf-8")


def site(folder: Path) -> bool:
    """A cold build of the site, against bare Sphinx with the theme and myst-nb over the same
    sources.
    """
    bare = folder / "bare"
    shutil.copytree(
        ROOT, bare, ignore=shutil.ignore_patterns(".git", ".venv*", ".triton", "_build", "conf.py")
    )
    (bare / "conf.py").write_text(BARE_CONF)

    def build(source: Path) -> float:
        target = Path(tempfile.mkdtemp(dir=folder))
        return seconds([PYTHON, "-m", "sphinx", "-q", "-b", "html", source, target], cwd=source)

    return compare(
        "cold build / bare Sphinx, theme and myst-nb",
        lambda: build(ROOT),
        lambda: build(bare),
        1.3,
        pairs=5,
    )


def notebooks(folder: Path) -> bool:
    """Validation of the course, against nbval in one process over a copy."""
    copy = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", copy)
    names = [
        path.stem
        for path in sorted(copy.glob("*.ipynb"))
        if '"r"' not in path.read_text(encoding="utf-8")
    ]
    environment = os.environ | {
        "PATH": f"{ROOT}/triton/bin:{ROOT}/.venv/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NBDIME_GIT_PREFIX": str(ROOT / ".venv-nbdime"),
        "LC_ALL": "C.UTF-8",
    }
    validate = ("-m", "tools.validate.runner", "validate")

    def ours(*arguments: str) -> float:
        return seconds([PYTHON, *validate, *arguments], env=environment)

    def plain(names: Sequence[str]) -> float:
        nbval = ("-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-c", os.devnull)
        files = [copy / f"{name}.ipynb" for name in names]
        return seconds([PYTHON, *nbval, *files], env=environment, cwd=copy, check=False)

    met = compare(
        "validation of the notebooks / pytest --nbval",
        lambda: ours(*names),
        lambda: plain(names),
        0.45,
    )
    return met and little_changed(names, lambda: ours("--changed"), lambda: plain(names[:1]))


def little_changed(
    names: Sequence[str], changed: Callable[[], float], plain: Callable[[], float]
) -> bool:
    """Whether a validation is fast where nothing has changed, and where one notebook has.

    changed: the validation of what has changed; plain: pytest --nbval of the first notebook alone.
    Also printed: what the first takes beside its cells and kernel.
    """
    changed()
    limit = 0.5 + 0.002 * len(names)
    warm = statistics.median(changed() for _ in range(5))
    record = ROOT / f"_build/validated/{names[0]}.json"
    beside_cells = []
    beside_nbval = []
    for _ in range(5):
        alone = plain()
        record.unlink()
        took = changed()
        beside_cells.append(took - json.loads(record.read_text())["seconds"])
        beside_nbval.append(took - alone)
    more = statistics.median(beside_nbval)
    print(
        f"{'  nothing changed':58}{warm:7.2f} s  (at most {limit:.2f})\n"
        f"{'  one changed, beside pytest --nbval of it alone':58}{more:7.2f} s  (at "
        f"most 0.5; {statistics.median(beside_cells):.2f} beside its cells and kernel)",
        flush=True,
    )
    return warm <= limit and more <= 0.5


def imports(folder: Path) -> bool:
    """`import nbformat` where the site is built, against the environment that has nbdime."""
    return compare(
        "import nbformat in .venv / in .venv-nbdime",
        lambda: seconds([PYTHON, "-c", "import nbformat"]),
        lambda: seconds([ROOT / ".venv-nbdime/bin/python", "-c", "import nbformat"]),
        0.6,
        pairs=5,
    )


@contextlib.contextmanager
def one_of_its_own(folder: Path, nodes: int) -> Iterator[Triton]:
    """A small Triton with so many nodes."""
    state = folder / "cluster"
    cluster.up(nodes=nodes, state=state, tied=True, say=lambda line: None)
    try:
        yield Triton(state)
    finally:
        cluster.down(state)


def small_triton(folder: Path) -> bool:
    """Sixteen nodes against four: bring-up and the memory that the idle cluster holds.

    Nothing on it can be measured for speed.
    """
    held: dict[int, float] = {}  # the megabytes of a cluster with so many nodes
    down: dict[int, float] = {}  # the seconds that its end takes

    def bring_up(nodes: int) -> float:
        state = folder / f"nodes-{nodes}"
        began = time.perf_counter()
        cluster.up(nodes, state=state, tied=True, say=lambda line: None)
        took = time.perf_counter() - began
        room = cluster.machine_room(state)
        assert room, "the cluster has ended"
        held[nodes] = cluster.memory_used(room) / 1e6
        began = time.perf_counter()
        cluster.down(state)
        down[nodes] = time.perf_counter() - began
        return took

    met = compare(
        "small Triton up with 16 nodes / with 4", lambda: bring_up(16), lambda: bring_up(4), 4
    )
    print(f"{'  it holds, idle':58}{held[16]:5.0f} MB  {held[4]:6.0f} MB; down in {down[4]:.1f} s")
    return met and held[4] < 700


LIST_SERVERS = 20
MANY_SERVERS = 500


def start_seconds(triton: Triton, user: str, command: str, url: re.Pattern[str]) -> float:
    """The seconds from Enter on the login node to a page of JupyterLab that answers there.

    url: finds its address in what `command` prints. Raises SystemExit if the command ends before.
    """
    began = time.perf_counter()
    process = triton.start(
        "login",
        f"exec {command}",
        user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout
    printed = ""
    while not (address := url.search(printed)):
        if not (line := process.stdout.readline()):
            raise SystemExit(f"{command} ended:\n{printed}")
        printed += line
    triton.run(
        "login",
        "until curl --silent --fail --location --cookie-jar /dev/null --output /dev/null "
        f"{shlex.quote(address[0])}; do sleep 0.05; done",
        user,
    )
    took = time.perf_counter() - began
    triton.run("login", "scancel --me", user)
    process.communicate()
    triton.run("login", 'while [ -n "$(squeue --me --noheader)" ]; do sleep 0.1; done', user)
    return took


def list_seconds(triton: Triton, user: str, *commands: str) -> list[float]:
    """The median times of the commands on the login node, in seconds, each run in turn with the
    others.
    """

    def timed(command: str) -> float:  # on the host, since to enter it takes longer than squeue
        printed = triton.run("login", f"TIMEFORMAT=%R; time {command} >/dev/null", user).stderr
        return float(printed.split()[-1])

    return [
        statistics.median(times)
        for times in zip(*[[timed(command) for command in commands] for _ in range(7)], strict=True)
    ]


def sjupyter(folder: Path) -> bool:
    """The start of a server, against srun with the same module, node, memory and time; and --list
    against one squeue.
    """
    with one_of_its_own(folder, nodes=2) as triton:
        user = triton.account()
        known = cluster.facts()
        options = f"-w {known.hosts.node} -t 20 --mem=1G"
        bare = script("bare_jupyter.sh", MODULE=known.modules.jupyter)
        met = compare(
            "sjupyter, until a page answers / srun jupyter lab",
            lambda: start_seconds(
                triton, user, f"sjupyter --json {options}", re.compile(r'(?<="url": ")http[^"]+')
            ),
            lambda: start_seconds(
                triton,
                user,
                f"srun --partition={known.partitions.interactive} {options} bash -c "
                f"{shlex.quote(bare)}",
                re.compile(r"http://(?!127)\S+token=\S+"),
            ),
            1.10,
            pairs=9,
        )
        few = own_list_seconds(triton, user, 1, LIST_SERVERS, 0.3)
        own_list_seconds(triton, user, LIST_SERVERS + 1, MANY_SERVERS)
        return met and few <= 0.3


def own_list_seconds(
    triton: Triton, user: str, first: int, last: int, most: float | None = None
) -> float:
    """How much longer `sjupyter --list` of so many servers takes than one squeue, in seconds.

    The servers from `first` to `last` are made, jobs that wait in the queue, each with the folder
    that a server keeps. most: what the printed line says that it may be.
    """
    known = cluster.facts()
    servers = script(
        "held_servers.sh",
        FIRST=first,
        LAST=last,
        PARTITION=known.partitions.interactive,
        NODE=known.hosts.node,
        DOMAIN=known.hosts.domain,
    )
    triton.run("login", servers, user, timeout=600)
    shown = triton.run("login", "sjupyter --list | tail -n +2 | wc -l", user).stdout.strip()
    if shown != str(last):
        raise SystemExit(f"sjupyter --list shows {shown} of {last} servers")
    ours, squeue = list_seconds(triton, user, "sjupyter --list", "squeue --me")
    limit = f"  own {ours - squeue:.2f} s" + (f"  (at most {most})" if most else "")
    print(
        f"{f'sjupyter --list of {last} servers / squeue':58}{ours:7.2f} s  {squeue:7.2f} s{limit}",
        flush=True,
    )
    return ours - squeue


def service(folder: Path) -> bool:
    """From the click on Start to a page of JupyterLab through the hub, against a batch job with
    jupyter lab until it answers.
    """
    known = cluster.facts()
    with one_of_its_own(folder, nodes=1) as triton:
        hub.running(triton)
        job = script("bare_job.sh")
        answers = script(
            "bare_answers.sh",
            PARTITION=known.partitions.interactive,
            NODE=known.hosts.node,
            MODULE=known.modules.jupyter,
        )

        def end_jobs(user: str) -> None:
            triton.run(
                "login",
                'scancel --me; while [ -n "$(squeue --me --noheader)" ]; do sleep 0.1; done',
                user,
            )

        def through_the_hub() -> float:
            user = triton.account()
            answer = hub.crowd(triton, [user], hub.TINY, within=0, look=0.1)[user]
            end_jobs(user)
            if "error" in answer:
                raise SystemExit(f"no server: {answer['error']}")
            return float(answer["from_click"])

        def bare() -> float:
            user = triton.account()
            triton.write("login", "~/bare.sh", job, user)
            began, answered = map(float, triton.run("login", answers, user).stdout.split())
            end_jobs(user)
            return answered - began

        return compare(
            "from Start to JupyterLab in the hub / bare batch job",
            through_the_hub,
            bare,
            1.15,
            pairs=7,
        )


TRIALS = 200
SEED = 18


@contextlib.contextmanager
def people_at_a_hub(folder: Path) -> Iterator[tuple[Triton, hub.People]]:
    """A small Triton whose hub starts stand-ins for JupyterLab, and people there."""
    with one_of_its_own(folder, nodes=2) as triton:
        hub.put_stand_in(triton)
        hub.running(triton, hub_faults.OPTIONS)
        people = hub.People(triton)
        try:
            yield triton, people
        finally:
            people.close()


def faults_at_the_hub(folder: Path) -> bool:
    """Starts in the middle of which something breaks; FAULTS=number of them, SEED=which."""
    count = int(os.environ.get("FAULTS", TRIALS))
    seed = int(os.environ.get("SEED", SEED))
    with people_at_a_hub(folder) as (triton, people):
        outcomes = hub_faults.trials(
            triton, people, count, seed, say=lambda line: print(f"  {line}", flush=True)
        )
    lost = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome.lost]
    ready = sum(outcome.ready for outcome in outcomes.values())
    print(
        f"{count} starts with a fault in the middle, seed {seed}: {len(lost)} orphans "
        f"or losses; {ready} servers came, of the others it was told",
        flush=True,
    )
    return not lost


def many_at_the_hub(folder: Path) -> bool:
    """Many people, many starts, and every daemon restarted: nothing is lost, and others wait for
    two seconds at most in the median.
    """
    met = []
    with people_at_a_hub(folder) as (triton, people):
        for measure in (
            hub_faults.sixty_people,
            hub_faults.hundred_waiting,
            hub_faults.many_streams,
            hub_faults.starts_and_stops,
            hub_faults.restarts,
        ):
            lost, looks, summary = measure(triton, people)
            print(
                f"{summary}; {len(lost)} lost" + "".join(f"\n  LOST: {what}" for what in lost),
                flush=True,
            )
            met.append(not lost and looks.median <= 2)
    return all(met)


SLURM_NOTEBOOKS = 16
SLURM_SECONDS = 15


def slurm(folder: Path) -> bool:
    """A course on four nodes, against one, each of which runs one notebook at a time.

    The nodes share this machine's processors, so the notebooks sleep: what is seen is whether the
    jobs are spread and gathered without delay.
    """
    with one_of_its_own(folder, nodes=4) as triton:
        user = triton.account()
        check_out(triton, user)
        triton.run("login", "cd $WRKDIR/guide && rm -r notebooks && mkdir notebooks", user)
        for number in range(SLURM_NOTEBOOKS):
            triton.write(
                "login",
                f"$WRKDIR/guide/notebooks/{number:02}.ipynb",
                notebook(f"import time; time.sleep({SLURM_SECONDS})"),
                user,
            )
        triton.run("ctl", f"scontrol update partitionname={BATCH} maxcpuspernode=1")

        def validation(drained: int) -> float:
            for nodes, how in ((triton.nodes, "resume"), (triton.nodes[:drained], "drain")):
                triton.run(
                    "ctl",
                    f"scontrol update nodename={','.join(nodes)} state={how} reason=bench",
                    check=False,
                )
            began = time.perf_counter()
            triton.run("login", f"cd $WRKDIR/guide && {ON_SLURM}", user, timeout=900)
            took = time.perf_counter() - began
            triton.settle()
            return took

        return compare(
            f"{SLURM_NOTEBOOKS} notebooks of {SLURM_SECONDS} s in jobs: four nodes / one",
            lambda: validation(0),
            lambda: validation(3),
            0.33,
            pairs=1,
        )


def module(*arguments: str | Path) -> Callable[[Path], bool]:
    """A bench that is a module of its own, whose exit status says whether it is met."""
    return lambda folder: subprocess.run([PYTHON, "-m", *arguments], cwd=ROOT).returncode == 0


BENCHES: dict[str, Callable[[Path], bool]] = {
    "site": site,
    "notebooks": notebooks,
    "pairs": module("tools.bench.pairs"),
    "scale": module("tools.bench.scale"),
    "numpy": module("tools.bench.numpy_tutorials"),
    "slurm": slurm,
    "nbdime-git": module("tools.bench.nbdime_git", "--env", ROOT / ".venv-nbdime"),
    "imports": imports,
    "cluster": small_triton,
    "sjupyter": sjupyter,
    "hub": service,
    "hub-faults": faults_at_the_hub,
    "hub-numbers": many_at_the_hub,
}
ON_A_CLUSTER = {"slurm", "cluster", "sjupyter", "hub", "hub-faults", "hub-numbers"}


def main(names: Sequence[str]) -> None:
    """Run the benches of these names, or all. Raises SystemExit with the exit status."""
    unknown = set(names) - set(BENCHES)
    if unknown:
        sys.exit(f"there is no bench {unknown.pop()}; there are: {', '.join(BENCHES)}")
    # With it the plain tools would compile what they import each time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        met = []
        for name in names or BENCHES:
            if name in ON_A_CLUSTER and (why := cluster.obstacle()):
                print(f"no cluster for {name}: {why}")
                met.append(False)
                continue
            (Path(folder) / name).mkdir()
            met.append(BENCHES[name](Path(folder) / name))
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
