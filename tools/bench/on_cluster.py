"""Comparisons of servers and jobs on a small Triton with what people do without our commands."""

import contextlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.bench.times import Side, timed
from tools.cluster import cluster, hub, hub_faults
from tools.cluster.checkout import BATCH, ON_SLURM, check_out, notebook
from tools.cluster.small_triton import Triton

SCRIPTS = Path(__file__).resolve().parent / "scripts"
END_JOBS = 'scancel --me; while [ -n "$(squeue --me --noheader)" ]; do sleep 0.1; done'
ANSWERS = (
    "until curl --silent --fail --location --cookie-jar /dev/null --output /dev/null {}; "
    "do sleep 0.05; done"
)


def script(name: str, **values: object) -> str:
    """The shell script of this name, below lines that set its variables."""
    settings = "".join(f"export {key}={shlex.quote(str(value))}\n" for key, value in values.items())
    return settings + (SCRIPTS / name).read_text(encoding="utf-8")


@contextmanager
def small_triton(state: Path, nodes: int) -> Iterator[Triton]:
    """A small Triton with `nodes` nodes."""
    cluster.up(nodes, state=state, tied=True, say=lambda line: None)
    try:
        yield Triton(state)
    finally:
        cluster.down(state)


# ---------------------------------------------------------------- compared


@contextmanager
def bring_up(folder: Path) -> Iterator[tuple[Side, Side]]:
    """The start of a small Triton with sixteen nodes, and with four."""

    def side(nodes: int) -> Side:
        def up() -> float:
            began = time.perf_counter()
            with small_triton(folder / f"of-{nodes}", nodes):
                return time.perf_counter() - began

        return up

    yield side(16), side(4)


def start_seconds(triton: Triton, user: str, command: str, url: re.Pattern[str]) -> float:
    """The seconds from Enter on the login node to a page of JupyterLab that answers there.

    url: a pattern of its address in the output of `command`. Raises SystemExit if the command ends
    before that.
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
    triton.run("login", ANSWERS.format(shlex.quote(address[0])), user)
    took = time.perf_counter() - began
    triton.run("login", "scancel --me", user)
    process.communicate()
    triton.run("login", END_JOBS, user)
    return took


@contextmanager
def sjupyter(folder: Path) -> Iterator[tuple[Side, Side]]:
    """The start of a server by sjupyter, and by srun with the same module, node and memory."""
    known = cluster.facts()
    options = f"-w {known.hosts.node} -t 20 --mem=1G"
    bare = shlex.quote(script("bare_jupyter.sh", MODULE=known.modules.jupyter))
    srun = f"srun --partition={known.partitions.interactive} {options} bash -c {bare}"
    in_json = re.compile(r'(?<="url": ")http[^"]+')
    in_log = re.compile(r"http://(?!127)\S+token=\S+")
    with small_triton(folder / "cluster", 2) as triton:
        user = triton.account()
        yield (
            lambda: start_seconds(triton, user, f"sjupyter --json {options}", in_json),
            lambda: start_seconds(triton, user, srun, in_log),
        )


@contextmanager
def service(folder: Path) -> Iterator[tuple[Side, Side]]:
    """From the click on Start at the hub to a page of JupyterLab, and from sbatch to a page."""
    known = cluster.facts()
    answers = script(
        "bare_answers.sh",
        PARTITION=known.partitions.interactive,
        NODE=known.hosts.node,
        MODULE=known.modules.jupyter,
    )
    with small_triton(folder / "cluster", 1) as triton:
        hub.running(triton)

        def through_the_hub() -> float:
            user = triton.account()
            answer = hub.crowd(triton, [user], hub.TINY, within=0, look=0.1)[user]
            triton.run("login", END_JOBS, user)
            if "error" in answer:
                raise SystemExit(f"no server: {answer['error']}")
            return float(answer["from_click"])

        def bare() -> float:
            user = triton.account()
            triton.write("login", "~/bare.sh", script("bare_job.sh"), user)
            began, answered = map(float, triton.run("login", answers, user).stdout.split())
            triton.run("login", END_JOBS, user)
            return answered - began

        yield through_the_hub, bare


@contextmanager
def slurm(folder: Path) -> Iterator[tuple[Side, Side]]:
    """A course of sixteen notebooks on four nodes, and on one; a node runs one at a time.

    The nodes share this machine's processors, so the notebooks only sleep. The ratio shows whether
    jobs start, and results come, without delay.
    """
    with small_triton(folder / "cluster", 4) as triton:
        user = triton.account()
        check_out(triton, user)
        triton.run("login", "cd $WRKDIR/guide && rm -r notebooks && mkdir notebooks", user)
        for number in range(16):
            path = f"$WRKDIR/guide/notebooks/{number:02}.ipynb"
            triton.write("login", path, notebook("import time; time.sleep(15)"), user)
        triton.run("ctl", f"scontrol update partitionname={BATCH} maxcpuspernode=1")

        def side(drained: list[str]) -> Side:
            validation = timed(
                lambda: triton.run("login", f"cd $WRKDIR/guide && {ON_SLURM}", user, timeout=900)
            )

            def with_nodes() -> float:
                for nodes, how in ((triton.nodes, "resume"), (drained, "drain")):
                    change = f"nodename={','.join(nodes)} state={how} reason=bench"
                    triton.run("ctl", f"scontrol update {change}", check=False)
                took = validation()
                triton.settle()
                return took

            return with_nodes

        yield side([]), side(triton.nodes[:3])


# ---------------------------------------------------------------- counted


def idle_memory(folder: Path) -> float:
    """The megabytes of memory of an idle small Triton with four nodes."""
    state = folder / "cluster"
    with small_triton(state, 4):
        room = cluster.machine_room(state)
        assert room, "the cluster has ended"
        return cluster.memory_used(room) / 1e6


@contextmanager
def people_at_a_hub(folder: Path) -> Iterator[tuple[Triton, hub.People]]:
    """A small Triton whose hub starts stand-ins for JupyterLab, and people at the hub."""
    with small_triton(folder / "cluster", 2) as triton:
        hub.put_stand_in(triton)
        hub.running(triton, hub_faults.OPTIONS)
        with contextlib.closing(hub.People(triton)) as people:
            yield triton, people


def faults(folder: Path) -> float:
    """The number of jobs or servers that are lost in starts with a fault.

    The variable FAULTS is the number of starts, SEED chooses their faults.
    """
    count = int(os.environ.get("FAULTS", "200"))
    seed = int(os.environ.get("SEED", "18"))
    with people_at_a_hub(folder) as (triton, people):
        outcomes = hub_faults.trials(
            triton, people, count, seed, say=lambda line: print(f"  {line}", flush=True)
        )
    ready = sum(outcome.ready for outcome in outcomes.values())
    print(f"  of {count} starts, seed {seed}, {ready} gave a server; the others gave a message")
    return sum(bool(outcome.lost) for outcome in outcomes.values())


def numbers(folder: Path) -> float:
    """The number of losses with many people, many starts, and restarts of every daemon.

    If others wait for a page more than two seconds in the median, that counts as a loss.
    """
    count = 0
    with people_at_a_hub(folder) as (triton, people):
        for measure in (
            hub_faults.hundred_waiting,
            hub_faults.starts_and_stops,
            hub_faults.restarts,
        ):
            lost, looks, summary = measure(triton, people)
            print(f"  {summary}", *(f"LOST: {what}" for what in lost), sep="\n  ", flush=True)
            count += len(lost) + (looks.median > 2)
    return count
