"""`make notebooks ON=slurm` on the cluster: the course as it stands gives its stored outputs there,
each notebook in a job with what it declares, in the environment and through the kernels that the
guide recommends.
"""

import json

import pytest

from tools.cluster.checkout import BATCH, ON_SLURM, check_out, problems
from tools.files import ROOT
from tools.validate import catalogue

NOTEBOOKS = {notebook.name: notebook for notebook in catalogue.load()}
JOBS = [name for name, notebook in NOTEBOOKS.items() if notebook.online]


def with_sbatch():
    """The notebook on batch jobs, with its script submitted rather than run: what its text says to
    do on the cluster.
    """
    notebook = json.loads(NOTEBOOKS["04-notebook-to-batch"].path.read_text(encoding="utf-8"))
    [cell] = [cell for cell in notebook["cells"] if "".join(cell["source"]) == "!bash gains.sh"]
    cell["source"] = "!sbatch --quiet --wait gains.sh && cat gains.out"
    cell["outputs"] = [output for output in cell["outputs"] if output["output_type"] == "stream"]
    notebook["metadata"]["course"]["needs"] = ["slurm"]
    return json.dumps(notebook)


@pytest.fixture(scope="module")
def verdicts(triton):
    """What is printed about each notebook after one run of all that submit no jobs, and one more of
    the others, whose jobs need room.
    """
    user = triton.account()
    check_out(triton, user)
    # Two jobs at a time: that is what this machine has processors for.
    *drained, _one, _two = sorted(triton.nodes)
    try:
        triton.run(
            "ctl",
            f"scontrol update partitionname={BATCH} maxcpuspernode=1 && scontrol update "
            f"nodename={','.join(drained)} state=drain reason=test",
        )
        course = run(triton, user, *(NOTEBOOKS.keys() - JOBS))
    finally:
        triton.run(
            "ctl",
            f"scontrol update partitionname={BATCH} maxcpuspernode=unlimited; scontrol "
            f"update nodename={','.join(drained)} state=resume",
        )
    triton.write("login", "$WRKDIR/guide/notebooks/submitted.ipynb", with_sbatch(), user)
    return course | run(triton, user, "submitted", *JOBS)


def run(triton, user, *names):
    done = triton.run(
        "login",
        f"cd $WRKDIR/guide && {ON_SLURM} NB='{' '.join(names)}'",
        user,
        check=False,
        timeout=700,
    )
    assert "notebooks: " in done.stdout and "not isolated" not in done.stdout, (
        done.stdout + done.stderr
    )
    return problems(done.stdout)


@pytest.mark.claims(
    "The course runs as jobs on the cluster, and gives the outputs that are stored in it."
)
@pytest.mark.parametrize("name", [*NOTEBOOKS, "submitted"])
def test_the_notebook_gives_its_stored_outputs_in_a_job(name, triton, verdicts):
    """Without cgroups a job that takes too much memory has failed, in another way than stored."""
    stored = ROOT / f"notebooks/{name}.ipynb"
    if triton.memory != "cgroup" and stored.exists() and "OUT_OF_MEMORY" in stored.read_text():
        pytest.skip("no cgroup v1 memory controller here")
    if verdicts[name] is not None:
        pytest.fail(f"{name}: {verdicts[name]}", pytrace=False)
