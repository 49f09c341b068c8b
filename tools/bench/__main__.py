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

EACH_ALONE = (
    "import contextlib, sys; from tools.validate import kernels, runner; kernels.template = "
    "lambda _: contextlib.nullcontext(); sys.exit(runner.main())"
)


def site(folder):
    """A cold build of the site, against bare Sphinx with the theme and myst-nb over the same
    sources.
    """
    bare = folder / "bare"
    shutil.copytree(
        ROOT, bare, ignore=shutil.ignore_patterns(".git", ".venv*", ".triton", "_build", "conf.py")
    )
    (bare / "conf.py").write_text(BARE_CONF)

    def build(source):
        target = Path(tempfile.mkdtemp(dir=folder))
        return seconds([PYTHON, "-m", "sphinx", "-q", "-b", "html", source, target], cwd=source)

    return compare(
        "cold build / bare Sphinx, theme and myst-nb",
        lambda: build(ROOT),
        lambda: build(bare),
        1.3,
        pairs=5,
    )


def notebooks(folder):
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
    validate = [PYTHON, "-m", "tools.validate.runner", "validate"]
    nbval = [PYTHON, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-c", os.devnull]
    met = compare(
        "validation of the notebooks / pytest --nbval",
        lambda: seconds([*validate, *names], env=environment),
        lambda: seconds(
            [*nbval, *[copy / f"{name}.ipynb" for name in names]],
            env=environment,
            cwd=copy,
            check=False,
        ),
        0.55,
    )

    compare(
        "  kernels forked from a template / each started alone",
        lambda: seconds([*validate, *names], env=environment),
        lambda: seconds([PYTHON, "-c", EACH_ALONE, "validate", *names], env=environment),
        1.0,
        pairs=5,
    )

    # Warm: nothing changed, then one that has to run, beside pytest --nbval of it alone, and beside
    # what it takes once pytest has begun.
    seconds([*validate, "--changed"], env=environment)
    limit = 0.5 + 0.002 * len(names)
    warm = statistics.median(seconds([*validate, "--changed"], env=environment) for _ in range(5))
    record, more, beside = ROOT / f"_build/validated/{names[0]}.json", [], []
    for _ in range(5):
        alone = seconds(
            [*nbval, copy / f"{names[0]}.ipynb"], env=environment, cwd=copy, check=False
        )
        record.unlink()
        took = seconds([*validate, "--changed"], env=environment)
        more.append(took - json.loads(record.read_text())["seconds"])
        beside.append(took - alone)
    more, beside = statistics.median(more), statistics.median(beside)
    print(
        f"{'  nothing changed':58}{warm:7.2f} s  (at most {limit:.2f})\n"
        f"{'  one changed, beside pytest --nbval of it alone':58}{beside:7.2f} s  (at "
        f"most 0.5; {more:.2f} beside its cells and kernel)",
        flush=True,
    )
    return met and warm <= limit and beside <= 0.5


def imports(folder):
    """`import nbformat` where the site is built, against the environment that has nbdime."""
    return compare(
        "import nbformat in .venv / in .venv-nbdime",
        lambda: seconds([PYTHON, "-c", "import nbformat"]),
        lambda: seconds([ROOT / ".venv-nbdime/bin/python", "-c", "import nbformat"]),
        0.6,
        pairs=5,
    )


@contextlib.contextmanager
def one_of_its_own(folder, nodes):
    """A small Triton (triton.Triton) with so many nodes."""
    state = folder / "cluster"
    cluster.up(nodes=nodes, state=state, tied=True, say=lambda line: None)
    try:
        yield Triton(state)
    finally:
        cluster.down(state)


def small_triton(folder):
    """Sixteen nodes against four: bring-up and the memory that the idle cluster holds.

    Nothing on it can be measured for speed.
    """
    held = {}

    def bring_up(nodes):
        state, began = folder / f"nodes-{nodes}", time.perf_counter()
        cluster.up(nodes, state=state, tied=True, say=lambda line: None)
        took = time.perf_counter() - began
        held[nodes] = cluster.memory_used(cluster.machine_room(state)) / 1e6
        down = time.perf_counter()
        cluster.down(state)
        held["down"] = time.perf_counter() - down
        return took

    met = compare(
        "small Triton up with 16 nodes / with 4", lambda: bring_up(16), lambda: bring_up(4), 4
    )
    print(
        f"{'  it holds, idle':58}{held[16]:5.0f} MB  {held[4]:6.0f} MB; down in "
        f"{held['down']:.1f} s"
    )
    return met and held[4] < 700


BARE_JUPYTER = """
type module >/dev/null 2>&1 || . /etc/profile
module load {module}
exec jupyter lab --no-browser --ip=$(hostname --ip-address) --port=0
"""
LIST_SERVERS, MANY_SERVERS = 20, 500
HELD_SERVERS = """
for number in $(seq {first} {last}); do
    folder=$HOME/.local/share/sjupyter/$(date +%s%3N)-$(printf %06x $number)
    mkdir -p $folder/runtime
    printf '#!/bin/sh\n' > $folder/job.sh
    job=$(sbatch --parsable --hold --partition={partition} --job-name=sjupyter --output=/dev/null $folder/job.sh) || exit
    echo "{{\\"job\\": \\"$job\\", \\"dir\\": \\"$HOME\\", \\"app\\": \\"lab\\"}}" > $folder/asked.json
    echo "{{\\"job\\": \\"$job\\", \\"node\\": \\"{node}\\", \\"state\\": \\"ready\\", \\"host\\": \\"{node}.{domain}\\", \\"port\\": $((20000 + number)), \\"memory_mb\\": 200}}" > $folder/said.json
done
"""


BARE_JOB = """#!/bin/bash
#SBATCH --partition={partition} --mem=400M --time=10 --output=bare-%j.log --nodelist={node}
. /etc/profile
module load {module}
export JUPYTER_TOKEN=bare
exec jupyter lab --no-browser --ip=$(hostname --ip-address) --port=0
"""
BARE_ANSWERS = """
began=$EPOCHREALTIME
job=$(sbatch --parsable bare.sh)
until url=$(grep -som1 'http://[0-9.]*:[0-9]*/lab' bare-$job.log) && [ "${url#http://127}" = "$url" ]; do sleep 0.05; done
until curl --silent --fail --location --cookie-jar /dev/null --output /dev/null "$url?token=bare"; do sleep 0.05; done
echo $began $EPOCHREALTIME
"""


def start_seconds(triton, user, command, url):
    """From Enter on the login node to a page of JupyterLab that answers there; `url` finds its
    address in what `command` prints.
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
    printed = ""
    while not (found := url.search(printed)):
        if not (line := process.stdout.readline()):
            raise SystemExit(f"{command} ended:\n{printed}")
        printed += line
    triton.run(
        "login",
        "until curl --silent --fail --location --cookie-jar /dev/null --output /dev/null "
        f"{shlex.quote(found[0])}; do sleep 0.05; done",
        user,
    )
    took = time.perf_counter() - began
    triton.run("login", "scancel --me", user)
    process.communicate()
    triton.run("login", 'while [ -n "$(squeue --me --noheader)" ]; do sleep 0.1; done', user)
    return took


def list_seconds(triton, user, *commands):
    """The median times of the commands on the login node, each run in turn with the others."""

    def timed(command):  # on the host, since to enter it takes longer than squeue
        printed = triton.run("login", f"TIMEFORMAT=%R; time {command} >/dev/null", user).stderr
        return float(printed.split()[-1])

    return [
        statistics.median(times)
        for times in zip(*[[timed(command) for command in commands] for _ in range(7)], strict=True)
    ]


def sjupyter(folder):
    """The start of a server, against srun with the same module, node, memory and time; and --list
    against one squeue.
    """
    with one_of_its_own(folder, nodes=2) as triton:
        user, known = triton.account(), cluster.facts()
        asked = f"-w {known['hosts']['node']} -t 20 --mem=1G"
        bare = BARE_JUPYTER.format(module=known["modules"]["jupyter"])
        met = compare(
            "sjupyter, until a page answers / srun jupyter lab",
            lambda: start_seconds(
                triton, user, f"sjupyter --json {asked}", re.compile(r'(?<="url": ")http[^"]+')
            ),
            lambda: start_seconds(
                triton,
                user,
                f"srun --partition={known['partitions']['interactive']} {asked} bash -c "
                f"{shlex.quote(bare)}",
                re.compile(r"http://(?!127)\S+token=\S+"),
            ),
            1.10,
            pairs=9,
        )

        # Jobs that wait in the queue, each with the folder that a server keeps.
        values = {
            "partition": known["partitions"]["interactive"],
            "node": known["hosts"]["node"],
            "domain": known["hosts"]["domain"],
        }
        first = 1
        for last, most in ((LIST_SERVERS, 0.3), (MANY_SERVERS, None)):
            triton.run(
                "login", HELD_SERVERS.format(first=first, last=last, **values), user, timeout=600
            )
            first = last + 1
            shown = triton.run("login", "sjupyter --list | tail -n +2 | wc -l", user).stdout.strip()
            if shown != str(last):
                raise SystemExit(f"sjupyter --list shows {shown} of {last} servers")
            ours, squeue = list_seconds(triton, user, "sjupyter --list", "squeue --me")
            limit = f"  own {ours - squeue:.2f} s" + (f"  (at most {most})" if most else "")
            print(
                f"{f'sjupyter --list of {last} servers / squeue':58}{ours:7.2f} s  "
                f"{squeue:7.2f} s{limit}",
                flush=True,
            )
            met = met and (most is None or ours - squeue <= most)
        return met


def service(folder):
    """From the click on Start to a page of JupyterLab through the hub, against a batch job with
    jupyter lab until it answers.
    """
    known = cluster.facts()
    with one_of_its_own(folder, nodes=1) as triton:
        hub.running(triton)
        job = BARE_JOB.format(
            partition=known["partitions"]["interactive"],
            node=known["hosts"]["node"],
            module=known["modules"]["jupyter"],
        )

        def gone(user):
            triton.run(
                "login",
                'scancel --me; while [ -n "$(squeue --me --noheader)" ]; do sleep 0.1; done',
                user,
            )

        def through_the_hub():
            user = triton.account()
            answer = hub.crowd(triton, [user], hub.TINY, within=0, look=0.1)[user]
            gone(user)
            if "error" in answer:
                raise SystemExit(f"no server: {answer['error']}")
            return answer["from_click"]

        def bare():
            user = triton.account()
            triton.write("login", "~/bare.sh", job, user)
            began, answered = map(float, triton.run("login", BARE_ANSWERS, user).stdout.split())
            gone(user)
            return answered - began

        return compare(
            "from Start to JupyterLab in the hub / bare batch job",
            through_the_hub,
            bare,
            1.15,
            pairs=7,
        )


TRIALS, SEED = 200, 18


def faults_at_the_hub(folder):
    """Starts in the middle of which something breaks; FAULTS=number of them, SEED=which."""
    count, seed = int(os.environ.get("FAULTS", TRIALS)), int(os.environ.get("SEED", SEED))
    with one_of_its_own(folder, nodes=2) as triton:
        hub.put_stand_in(triton)
        hub.running(triton, hub_faults.OPTIONS)
        people = hub.People(triton)
        try:
            outcomes = hub_faults.trials(
                triton, people, count, seed, say=lambda line: print(f"  {line}", flush=True)
            )
        finally:
            people.close()
        lost = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome.lost]
        ready = sum(outcome.ready for outcome in outcomes.values())
        print(
            f"{count} starts with a fault in the middle, seed {seed}: {len(lost)} orphans "
            f"or losses; {ready} servers came, of the others it was told",
            flush=True,
        )
        return not lost


def many_at_the_hub(folder):
    """Many people, many starts, and every daemon restarted: nothing is lost, and others wait for
    two seconds at most in the median.
    """
    met = []
    with one_of_its_own(folder, nodes=2) as triton:
        hub.put_stand_in(triton)
        hub.running(triton, hub_faults.OPTIONS)
        people = hub.People(triton)
        try:
            for measure in (
                hub_faults.sixty_people,
                hub_faults.hundred_waiting,
                hub_faults.many_streams,
                hub_faults.starts_and_stops,
                hub_faults.restarts,
            ):
                lost, looks, said = measure(triton, people)
                print(
                    f"{said}; {len(lost)} lost" + "".join(f"\n  LOST: {what}" for what in lost),
                    flush=True,
                )
                met.append(not lost and looks.median <= 2)
        finally:
            people.close()
    return all(met)


SLURM_NOTEBOOKS, SLURM_SECONDS = 16, 15


def slurm(folder):
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

        def validation(drained):
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


def script(*arguments):
    return lambda folder: subprocess.run([PYTHON, *arguments], cwd=ROOT).returncode == 0


BENCHES = {
    "site": site,
    "notebooks": notebooks,
    "pairs": script("-m", "tools.bench.pairs"),
    "scale": script("-m", "tools.bench.scale"),
    "numpy": script("-m", "tools.bench.numpy_tutorials"),
    "slurm": slurm,
    "nbdime-git": script("-m", "tools.bench.nbdime_git", "--env", ROOT / ".venv-nbdime"),
    "imports": imports,
    "cluster": small_triton,
    "sjupyter": sjupyter,
    "hub": service,
    "hub-faults": faults_at_the_hub,
    "hub-numbers": many_at_the_hub,
}
ON_A_CLUSTER = {"slurm", "cluster", "sjupyter", "hub", "hub-faults", "hub-numbers"}


def main(names):
    unknown = set(names) - set(BENCHES)
    if unknown:
        sys.exit(f"there is no bench {unknown.pop()}; there are: {', '.join(BENCHES)}")
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # else the plain tools compile what they import each time
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
