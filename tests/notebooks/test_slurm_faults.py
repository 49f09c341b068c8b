"""`make notebooks ON=slurm` comes to the right end whatever happens on the way: a terminal that
ends, a node that dies, a job that is preempted, Ctrl-C. No notebook is lost, none runs
twice at the same time, and nothing is left behind.
"""

import fcntl
import json
import os
import re
import subprocess
import sys

import pytest

from tools.cluster import cluster
from tools.cluster.checkout import ON_SLURM, check_out, notebook, problems
from tools.cluster.jupyter_server import PATIENCE
from tools.files import ROOT

INTERACTIVE = cluster.facts().partitions.interactive
# It runs until there is a file `go`.
WAITS = (
    f"import os, pwd, time\nwhile not os.path.exists('{cluster.facts().paths.work}/' + "
    "pwd.getpwuid(os.getuid()).pw_name + '/guide/go'):\n    time.sleep(0.1)"
)
RUNNING = "squeue --me --noheader --array --states=RUNNING --format='%i %N'"


class Checkout:
    """A checkout on the cluster, of an account, with notebooks of its own, {name: text}; whoever
    makes one ends it.
    """

    def __init__(self, triton, user, notebooks):
        self.triton, self.user, self.started = triton, user, []
        check_out(triton, user)
        self.run("rm -r notebooks; mkdir notebooks")
        for name, text in notebooks.items():
            triton.write("login", f"$WRKDIR/guide/notebooks/{name}.ipynb", text, user)

    def run(self, command, **options):
        return self.triton.run("login", f"cd $WRKDIR/guide && {command}", self.user, **options)

    def at_a_terminal(self, command):
        """Start `command` at a terminal of its own on the login node, where Ctrl-C works also if it
        does not here; return the pid of that there.

        A shell stays above the command, as at a real terminal. Without one make would be told of
        the terminal's end alone, and would wait for its children.
        """
        started = self.triton.start(
            "login",
            "cd $WRKDIR/guide; echo $$; exec env --default-signal=INT script --quiet "
            f"--flush --command '{command}; exit $?' said >/dev/null",
            self.user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.started.append(started)
        return started.stdout.readline().strip()

    def said(self):
        return self.run("cat said").stdout

    def until(self, condition, what):
        """Wait until the shell's `condition` holds on the login node."""
        done = self.run(
            f"for i in $(seq 300); do {condition} && exit; sleep 0.2; done; echo; cat said; "
            "squeue; exit 1",
            check=False,
        )
        assert done.returncode == 0, f"gave up waiting until {what}:\n{done.stdout}"

    def until_computing(self, *names):
        """Wait until the kernels of these notebooks are there, one on a node; return the node of
        each.
        """
        self.until(f"[ $({RUNNING} | wc -l) = {len(names)} ]", f"{len(names)} jobs run")
        nodes = dict(
            zip(
                names,
                [line.split()[1] for line in sorted(self.run(RUNNING).stdout.splitlines())],
                strict=True,
            )
        )
        for node in nodes.values():
            self.triton.run(
                node,
                f"for i in $(seq 300); do pgrep --uid {self.user} --full ipykernel_launcher "
                "&& exit; sleep 0.1; done; exit 1",
            )
        return nodes

    def end(self):
        self.run("scancel --me", check=False)
        for started in self.started:
            started.kill()
            started.communicate()

    def nothing_is_left(self):
        """No job, no process and no file of the account, on no node, and no run to gather."""
        self.until('[ -z "$(squeue --me --noheader)" ]', "no job is left")
        for node in self.triton.nodes:
            left = self.triton.run(
                node,
                f"for i in $(seq 300); do pgrep --uid {self.user} >/dev/null || break; sleep "
                "0.1; done; "
                f"pgrep --list-full --uid {self.user}; find /tmp -user {self.user}",
                check=False,
            ).stdout
            assert left == "", f"on {node}"
        assert self.run("ls _build/slurm").stdout.split() == ["lock"]


@pytest.fixture
def checkout(triton):
    """A function that makes a Checkout with the given notebooks, of an account of its own or of the
    one that is named.
    """
    made = []

    def make(notebooks, user=None):
        made.append(Checkout(triton, user or triton.account(), notebooks))
        return made[-1]

    yield make
    for course in made:
        course.end()


def lose_both_jobs(triton, course, nodes):
    """Kill the node of the one job, and have another user's job preempt the other; return that
    user.
    """
    triton.run(nodes["dies"], "kill -KILL -1", check=False)  # all but the node's first process
    triton.run(
        "ctl",
        f"scontrol update nodename={nodes['dies']} state=down reason=test && scontrol "
        f"update partitionname={INTERACTIVE} prioritytier=2",
    )
    other = triton.account()
    triton.run(
        "login",
        f"sbatch --partition={INTERACTIVE} --exclusive --nodelist={nodes['preempted']} "
        "--output=/dev/null --wrap='sleep 60'",
        other,
    )
    course.until(f'[ -z "$({RUNNING})" ]', "both jobs are lost")
    return other


def test_node_preemption_and_terminal_cost_no_result(triton, checkout):
    """A dead node, a preempted job, and the end of the terminal."""
    whole_node = {"memory_mb": 70_000}  # two of them do not fit on one node
    course = checkout(
        {
            "dies": notebook(WAITS, **whole_node),
            "preempted": notebook(WAITS, **whole_node),
            "wrong": notebook("print('fresh')", "stored\n"),
        }
    )
    terminal = course.at_a_terminal(f'{ON_SLURM} NB="dies preempted wrong"')
    course.until("ls _build/slurm/*/results/wrong.json", "a result came")
    nodes = course.until_computing("dies", "preempted")
    course.until("grep --quiet wrong said", "it is told")
    beside = course.run(ON_SLURM, check=False)
    assert beside.returncode and "gathers from" in beside.stderr

    course.run(f"kill -KILL {terminal}")
    course.until(
        f"! pgrep --uid {course.user} --full [t]ools.validate.runner",
        "the gatherer ended with its terminal",
    )
    assert "wrong" in course.said() and len(course.run(RUNNING).stdout.splitlines()) == 2
    anew = course.run(ON_SLURM, check=False)
    assert anew.returncode and re.search(
        r"^A run that began .* has not been gathered: make notebooks ON=slurm RESUME=1 does it$",
        anew.stderr,
        re.M,
    )

    try:
        other = lose_both_jobs(triton, course, nodes)
        course.run("mkdir go")
        done = course.run(f"{ON_SLURM} RESUME=1", check=False)
        triton.run("login", "scancel --me", other)
    finally:
        triton.run("ctl", f"scontrol update partitionname={INTERACTIVE} prioritytier=1")
        triton.run(
            nodes["dies"], "rm -rf /tmp/notebooks-*; runuser -u munge -- munged --force; slurmd"
        )
        triton.run("ctl", f"scontrol update nodename={nodes['dies']} state=resume", check=False)
    assert "dies: its job ended as NODE_FAIL and is submitted again" in done.stdout
    assert "preempted: its job ended as PREEMPTED and is submitted again" in done.stdout
    assert "notebooks: 2 passed, 1 failed" in done.stdout and re.search(
        r"^\+ *fresh$", done.stdout, re.M
    ), done.stdout
    verdicts = problems(done.stdout)
    assert {name for name, problem in verdicts.items() if problem is None} == {
        "dies",
        "preempted",
    } and "fresh" in verdicts["wrong"]
    course.nothing_is_left()
    states = "sacct --noheader --allocations --format=State%20"
    course.until(f'[ "$({states} | grep --count COMPLETED)" = 3 ]', "Slurm's accounts know all")
    assert sorted(course.run(states).stdout.split()) == ["COMPLETED"] * 3 + [
        "NODE_FAIL",
        "PREEMPTED",
    ], "each ran once, but for what was lost"


def test_ctrl_c_cancels_the_jobs_and_leaves_nothing(checkout):
    course = checkout({"slow": notebook(WAITS)})
    terminal = course.at_a_terminal(ON_SLURM)
    course.until_computing("slow")
    course.run(f"kill -INT -- -$(($(ps --format tpgid= $(pgrep --parent {terminal}))))")
    course.until("grep stopped said", "it says so")
    assert "stopped; its jobs are cancelled" in course.said()
    course.nothing_is_left()


@pytest.fixture
def task(tmp_path):
    """The task of a job, a Popen, with one notebook; `result` is the file that it writes."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "x.ipynb").write_text(notebook("print(1)", "1\n"))
    batch, result = tmp_path / "batch.json", tmp_path / "results/x.json"
    batch.write_text(json.dumps([["x", str(folder)]]))
    result.parent.mkdir()
    with open(result.with_suffix(".lock"), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.validate.job", batch],
            env=os.environ | {"PYTHONPATH": str(ROOT), "SLURM_ARRAY_TASK_ID": "0"},
        )
        yield process, result, held
    process.kill()
    process.wait()


def test_a_task_waits_for_the_other_run_of_its_notebook(task):
    """It takes the result of that run."""
    process, result, held = task
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    assert not result.exists()
    result.write_text(json.dumps("of the other"))
    fcntl.flock(held, fcntl.LOCK_UN)
    assert process.wait(PATIENCE) == 0 and json.loads(result.read_text()) == "of the other"


def test_a_task_runs_what_another_run_left_without_a_result(task):
    process, result, held = task
    fcntl.flock(held, fcntl.LOCK_UN)
    assert process.wait(180) == 0 and json.loads(result.read_text())["outcome"] == "passed"
