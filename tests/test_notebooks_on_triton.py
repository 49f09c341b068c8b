"""The course's notebooks run on the cluster as they stand: each as a job with the memory and time that it declares, in the
environment and the kernels that the guide recommends, and gives the outputs that are stored in it."""
import io
import json
import subprocess
import tarfile
import time

import pytest
from conftest import ROOT
from course import runner
from triton import cluster

NOTEBOOKS = {notebook.name: notebook for notebook in runner.load()}
JOB = """#!/bin/bash
#SBATCH --partition={partition} --mem={memory}M --time=0:{minutes} --job-name={name} --output={name}.out
module load {module}
cd $WRKDIR/notebooks
python -m pytest --nbval -p no:cacheprovider --color=no --tb=short -q {name}.ipynb
"""


def job(name, notebook):
    """The batch script that validates the notebook `name`, with what `notebook` declares."""
    facts, (seconds, memory) = cluster.facts(), notebook.limits
    return JOB.format(name=name, memory=memory, minutes=-(-seconds // 60) + 1, partition=facts["partitions"]["batch"], module=facts["modules"]["jupyter"])


def folder(*more):
    """A tar of notebooks/, with `more` files as (name, text)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(ROOT / "notebooks", "notebooks", filter=lambda entry: None if ".ipynb_checkpoints" in entry.name else entry)
        for name, text in more:
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def with_sbatch():
    """The notebook on batch jobs, with its script submitted rather than run: what its text says to do on the cluster."""
    notebook = json.loads(NOTEBOOKS["04-notebook-to-batch"].path.read_text(encoding="utf-8"))
    [cell] = [cell for cell in notebook["cells"] if "".join(cell["source"]) == 'run("bash", "gains.sh")']
    cell["source"] = 'run("sbatch", "--wait", "gains.sh")'
    cell["metadata"]["tags"] = ["nbval-ignore-output"]
    return json.dumps(notebook)


@pytest.fixture(scope="module")
def jobs(triton):
    """All notebooks submitted, under an account of their own: the account, and the state of each job by name, when all have ended."""
    user = triton.account()
    files = [("notebooks/submitted.ipynb", with_sbatch()),
             *((f"jobs/{name}.sh", job(name, notebook)) for name, notebook in NOTEBOOKS.items()),
             ("jobs/submitted.sh", job("submitted", NOTEBOOKS["04-notebook-to-batch"]).replace("cd $", "mkdir $WRKDIR/tmp; export TMPDIR=$WRKDIR/tmp\ncd $"))]
    subprocess.run(triton.command("login", "tar --extract --no-same-owner --directory=$WRKDIR", user), input=folder(*files), check=True)
    # The longest first, two at a time: that is what this machine has processors for.
    order = sorted(NOTEBOOKS, key=lambda name: -NOTEBOOKS[name].expected_seconds) + ["submitted"]
    submit = "cd $WRKDIR/jobs; first= second=\n" + "".join(
        f"job=$(sbatch --parsable ${{first:+--dependency=afterany:$first}} {name}.sh); first=$second; second=$job\n" for name in order)
    triton.run("login", submit, user)
    states = {}
    for _ in range(600):
        listed = triton.run("login", "squeue --me --noheader --format=%j; sacct --noheader --parsable2 --allocations --format=JobName,State", user).stdout
        states = dict(line.split("|") for line in listed.splitlines() if "|" in line)
        if not [line for line in listed.splitlines() if "|" not in line] and set(order) <= set(states) and "RUNNING" not in states.values():
            break
        time.sleep(0.5)
    yield user, states
    triton.run("login", "scancel --me", user, check=False)


@pytest.mark.parametrize("name", [*NOTEBOOKS, "submitted"])
def test_the_notebook_gives_its_stored_outputs_in_a_job(name, jobs, triton, record_property):
    record_property("kind", "notebook on the cluster")
    user, states = jobs
    printed = triton.run("login", f"cat $WRKDIR/jobs/{name}.out", user, check=False).stdout
    if states.get(name) != "COMPLETED" or " passed" not in printed:
        pytest.fail(f"{name}: {states.get(name, 'never ran')}\n{printed[-4000:]}", pytrace=False)
