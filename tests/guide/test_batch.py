"""What the page about notebooks in batch jobs says is true on the small cluster."""

import json
import re

import pytest

from tools import pages
from tools.cluster import cluster
from tools.cluster.hub import notebook

MODULES = cluster.facts().modules
PAGE, WRAPPER = "triton/apps/jupyter/batch.rst", "triton/apps/jupyter/private_papermill.py"
NBCONVERT = "jupyter nbconvert --execute --to notebook --output done sub/one.ipynb"
PAPERMILL = "python3 private_papermill.py --log-output sub/one.ipynb sub/done.ipynb"
FAILS = ["print('before')", "1 / 0", "print('after')"]
LASTS = ["print('before')", "import time\nfor i in range(300):\n    print(i)\n    time.sleep(1)"]
GROWS = ["print('before')", "x = bytearray(2_000_000_000)"]
HAS = ["import os; print(os.environ['DEMO_GREETING'], os.environ['OMP_NUM_THREADS'])"]
WHERE = ["import os; print(os.path.relpath(os.getcwd(), os.path.expanduser('~')))"]
MINE = ["import os; print(os.environ['MINE'])"]
SOCKETS = ["import time; time.sleep(3)\n!ss --no-header --listening --unix"]
SLOW = ["import time; time.sleep(3); print('slept')"]
LIMITED = """mkdir settings
echo '{"ExecutePreprocessor": {"timeout": 1}}' > settings/jupyter_nbconvert_config.json
export JUPYTER_CONFIG_DIR=$PWD/settings
"""
[NO_LIMIT] = re.findall(r"--ExecutePreprocessor.timeout=\S+", pages.read(PAGE))
OWN = f"module load {MODULES.demo}\nexport OMP_NUM_THREADS=1\n"

# {name of a run: (lines of its script, cells of its notebook, kernel that the notebook names)}
RUNS = {
    "nbconvert fails": (NBCONVERT, FAILS, "python3"),
    "papermill fails": (PAPERMILL, FAILS, "python3"),
    "allow errors": (f"{NBCONVERT} --allow-errors", FAILS, "python3"),
    "nbconvert time": (NBCONVERT, LASTS, "python3"),
    "papermill time": (PAPERMILL, LASTS, "python3"),
    "nbconvert memory": (NBCONVERT, GROWS, "python3"),
    "papermill memory": (PAPERMILL, GROWS, "python3"),
    "no kernel": (NBCONVERT, FAILS[:1], "my-env"),
    "own kernel": (f"{PAPERMILL} --kernel=own --cwd sub", MINE + WHERE, "my-env"),
    "limited cell": (LIMITED + NBCONVERT, SLOW, "python3"),
    "no limit": (f"{LIMITED}{NBCONVERT} {NO_LIMIT}", SLOW, "python3"),
    "web page": (NBCONVERT.replace("notebook", "html"), MINE, "own"),
    "nbconvert has": (OWN + NBCONVERT, HAS + WHERE, "python3"),
    "papermill has": (
        f"{OWN}{PAPERMILL} --parameters town Oulu",
        ["town = 'Helsinki'", "print(town)", *HAS, *WHERE],
        "python3",
    ),
}


@pytest.fixture(scope="module")
def runs(triton, user):
    """{name of a run: (the job's state, its output, the texts in the new notebook or None)}."""
    kernel = {
        "argv": ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "own",
        "env": {"MINE": "my own"},
    }
    folder = cluster.facts().paths.user_kernels + "/own"
    triton.run(
        "login", f"mkdir -p {folder}; cat > {folder}/kernel.json", user, input=json.dumps(kernel)
    )
    jobs = {}
    for name, (lines, cells, named) in RUNS.items():
        triton.run("login", f"mkdir -p '{name}/sub'", user)
        triton.write("login", f"'{name}/private_papermill.py'", pages.read(WRAPPER), user)
        triton.write("login", f"'{name}/sub/one.ipynb'", notebook(cells, named), user)
        script = f"#!/bin/bash\nmodule purge\nmodule load {MODULES.jupyter}\n{lines}\n"
        triton.write("login", f"'{name}/job.sh'", script, user)
        minutes = 1 if "time" in name else 5
        submit = f"cd '{name}'; sbatch --parsable --mem=400M --time={minutes} --output=out job.sh"
        jobs[name] = triton.run("login", submit, user).stdout.strip()
    triton.run(
        "login", f"srun --dependency=afterany:{':'.join(jobs.values())} true", user, timeout=400
    )
    return {name: _ended(triton, user, name, job) for name, job in jobs.items()}


def _ended(triton, user, name, job):
    listed = f"sacct --noheader --parsable2 --allocations --jobs={job} --format=State"
    state = triton.run("login", listed, user).stdout.split()[0]
    output = triton.run("login", f"cat '{name}/out'", user).stdout
    kept = triton.run("login", f"cat '{name}'/sub/done.ipynb", user, check=False).stdout
    if not kept:
        return state, output, None
    outputs = [one for cell in json.loads(kept)["cells"] for one in cell.get("outputs", [])]
    return state, output, "".join(one.get("ename") or "".join(one["text"]) for one in outputs)


@pytest.mark.claims(
    "- a cell fails - no notebook - all cells up to that one, with the error",
    "Then the job is ``COMPLETED``, whatever failed in it.",
    "``--allow-errors`` makes ``jupyter nbconvert`` go on after an error and write the notebook.",
    "without ``--parameters`` it executes the notebook as it is.",
)
@pytest.mark.claims(
    "The run ends there, and the job has failed. Some seconds later Slurm's accounts say so,",
    "- What happens - ``jupyter nbconvert`` - ``papermill``",
)
def test_what_is_left_of_a_notebook_whose_cell_fails(runs):
    assert runs["nbconvert fails"][::2] == ("FAILED", None)
    state, _, kept = runs["papermill fails"]
    assert state == "FAILED" and "before\nZeroDivisionError" in kept and "after" not in kept
    assert runs["allow errors"][::2] == ("COMPLETED", "before\nZeroDivisionErrorafter\n")


@pytest.mark.claims(
    "A setting of yours, or of an older version, gives each cell some seconds. This takes the "
    "limit away; the time of the job is the one that stays:",
    "It says ``A cell timed out while it was being executed, after ... seconds``?",
)
def test_the_limit_of_a_cell_is_taken_away(runs):
    state, output, _ = runs["limited cell"]
    [message] = re.findall("It says ``(.*?)``", pages.read(PAGE))
    pattern = re.escape(message).replace(r"\.\.\.", "[0-9]+")
    assert state == "FAILED" and re.search(pattern, output), output
    assert runs["no limit"][::2] == ("COMPLETED", "slept\n")


@pytest.mark.claims(
    "- time or memory was exceeded - no notebook - what had come until then, but for some seconds",
    "- while it runs - nothing to see - the outputs up to now",
    "So take ``jupyter nbconvert`` for minutes, and ``papermill`` for hours;",
    "Save the model now and then: a job that reaches its time limit loses what it has not written.",
)
def test_what_is_left_of_a_notebook_that_is_killed(triton, runs):
    """papermill writes the notebook each 30 seconds, and after each cell."""
    exceeded = "OUT_OF_MEMORY" if triton.memory == "cgroup" else "FAILED"
    assert runs["nbconvert time"][::2] == ("TIMEOUT", None)
    assert runs["nbconvert memory"][::2] == (exceeded, None)
    state, _, kept = runs["papermill time"]
    assert state == "TIMEOUT" and kept.startswith("before\n0\n1\n") and "\n25\n" in kept
    assert runs["papermill memory"][::2] == (exceeded, "before\n")


@pytest.mark.claims("With ``html`` in place of ``notebook``, ``--to`` makes a web page.")
@pytest.mark.claims(
    "A job finds the same kernels as JupyterLab, also :ref:`your own <own-kernel>`; it ends with "
    "``No such kernel named`` where there is none of that name. With ``--kernel`` and a name, "
    "``papermill`` takes another one."
)
def test_a_job_takes_the_kernel_that_the_notebook_names(triton, user, runs):
    """The one that is named makes a web page."""
    state, output, kept = runs["no kernel"]
    assert (state, kept) == ("FAILED", None) and "No such kernel named my-env" in output
    assert runs["own kernel"][2].startswith("my own\n"), runs["own kernel"]
    assert runs["web page"][0] == "COMPLETED"
    page = triton.run("login", "cat 'web page/sub/done.html'", user).stdout
    assert "<pre>my own\n</pre>" in page


@pytest.mark.claims(
    "Without a tag that cell comes first, your own line wins, and all notebooks are alike;",
    "The kernel has what the script has.",
    "With ``jupyter nbconvert`` the kernel works in the folder of the notebook, with "
    "``papermill`` in the folder where you handed the job in. ``--cwd`` names another one.",
    "What you chose in the ``Software Modules`` tab belongs in the script, as a line "
    "``module load`` above the last one, and so do variables that you export.",
    "the output of the job then says ``Passed unknown parameter:``, with the name.",
)
def test_what_a_kernel_in_a_job_has_and_where_it_works(runs):
    """Without a tag, the notebook's own value wins."""
    greets = "Hello from the demo module 1\n"
    state, output, kept = runs["papermill has"]
    assert (state, kept) == ("COMPLETED", f"Helsinki\n{greets}papermill has\n"), output
    assert "Passed unknown parameter: town" in output
    assert runs["nbconvert has"][::2] == ("COMPLETED", f"{greets}nbconvert has/sub\n")
    assert runs["own kernel"][::2] == ("COMPLETED", "my own\nown kernel/sub\n")


@pytest.mark.claims(
    "A job executes a notebook from the first cell to the last and keeps the outputs, while your "
    "computer is off.",
    "The outputs are in ``town-done.ipynb``; ``town.ipynb`` stays as it was. It begins with a new "
    "kernel, so try first whether it runs from top to bottom: "
    ":menuselection:`Kernel --> Restart Kernel and Run All Cells…`.",
    "``--wait`` gives the prompt back when the job has ended: leave it out for a run of hours.",
    "with your notebook in place of ``town.ipynb``:",
    "And this as ``towns.sh``. It is :doc:`an array </triton/tut/array>`:",
)
@pytest.mark.claims(
    "the cell that sets them has the tag ``parameters``, as the first one of ``town.py``.",
    "each task executes the notebook for one town, which ``SLURM_ARRAY_TASK_ID`` picks.",
    "Each town has a notebook of its own, in which a new cell below the tagged one says "
    '``town = "Oulu"``.',
    "and ``towns_3.out`` says why:",
    "The output of a job with ``--log-output`` has the number of the cell that runs, and what the "
    "cells print.",
    "This writes one with the same cells, and a batch script runs it with ``python3``:",
    "``papermill`` gives a notebook other values and executes it.",
)
def test_the_jobs_of_the_page_keep_their_outputs(triton, user):
    triton.run("login", "mkdir page", user)
    for name in ("town.py", "notebook.sh", "towns.sh", "private_papermill.py"):
        triton.write("login", f"page/{name}", pages.filled(f"triton/apps/jupyter/{name}"), user)
    made = "jupytext --quiet --to ipynb --set-kernel python3 town.py"
    run = f"module load {MODULES.jupyter}; {made}; sbatch --wait notebook.sh; ls *.ipynb"
    assert "town-done.ipynb" in triton.run("login", f"cd page; {run}", user).stdout
    triton.run("login", "cd page; sbatch --wait towns.sh", user, check=False)

    def cells(name):
        return json.loads(triton.run("login", f"cat page/{name}", user).stdout)["cells"]

    job, array = (pages.filled(f"triton/apps/jupyter/{name}.sh") for name in ("notebook", "towns"))
    assert " town.ipynb " in job and "#SBATCH --array=" in array
    [write] = re.findall(r"\$ (jupytext --to py:percent .*)", pages.read(PAGE))
    load = f"cd page; module load {MODULES.jupyter}"
    program = f"{load}; {write}; srun --mem=500M python3 program.py"
    assert "Helsinki is at 60.2" in triton.run("login", program, user).stdout
    first, done, oulu = map(cells, ("town.ipynb", "town-done.ipynb", "towns/Oulu.ipynb"))
    assert not any(cell["outputs"] for cell in first)
    assert [cell["execution_count"] for cell in done] == [1, 2, 3]
    assert "Helsinki is at 60.2" in "".join(done[2]["outputs"][0]["text"])
    assert oulu[0]["metadata"]["tags"] == ["parameters"]
    assert 'town = "Oulu"' in "".join(oulu[1]["source"])
    assert "KeyError: 'Atlantis'" in triton.run("login", "cat page/towns_3.out", user).stdout
    printed = triton.run("login", "cat page/towns_1.out", user).stdout
    assert "Executing Cell 4" in printed and "Oulu is at 65.0" in printed


def test_programs_in_the_notebooks_folder_are_not_run(triton, user):
    """Whoever may write in that folder can put templates and modules there."""
    triton.run("login", "mkdir -p others/lab; echo PLANTED > others/lab/index.html.j2", user)
    for module in ("secrets", "IPython"):
        triton.write("login", f"others/{module}.py", "open('planted', 'w')\n", user)
    triton.write("login", "others/one.ipynb", notebook(["1"]), user)
    convert = f"cd others; module load {MODULES.jupyter}; jupyter nbconvert --to html one.ipynb"
    triton.run("login", convert, user)
    page = triton.run("login", "ls others; cat others/one.html", user).stdout
    assert "<html" in page and "PLANTED" not in page and "planted" not in page


@pytest.mark.claims(
    "``jupytext`` runs a Python file with its settings in the notebook's folder, or in one above "
    "it, whoever made that."
)
def test_jupytext_runs_a_file_of_a_folder_above(triton, user):
    triton.run("login", "mkdir -p above/mine", user)
    triton.write("login", "above/.jupytext.py", "open('planted', 'w')\n", user)
    triton.write("login", "above/mine/one.ipynb", notebook(["1"]), user)
    convert = f"module load {MODULES.jupyter}; jupytext --to py:percent one.ipynb; ls"
    assert "planted" in triton.run("login", f"cd above/mine; {convert}", user).stdout


@pytest.mark.claims(
    "Any number of notebooks may run in one folder at the same time, and the notebook may lie in "
    "another one."
)
def test_notebooks_of_one_folder_run_at_the_same_time(triton, user):
    """Each has sockets of its own, in a folder that only their owner can open."""
    triton.run("login", "mkdir there", user)
    triton.write("login", "there/one.ipynb", notebook(SOCKETS), user)
    convert = NBCONVERT.replace("done sub", "done_$SLURM_ARRAY_TASK_ID there")
    script = (
        "#!/bin/bash\n#SBATCH --array=0-1 --time=5 --mem=400M --output=alike_%a.out\n"
        f"module load {MODULES.jupyter}\n{convert}\n"
    )
    triton.write("login", "alike.sh", script, user)
    triton.run("login", "sbatch --wait alike.sh || { cat alike_*.out; exit 1; }", user)
    printed = triton.run("login", "cat there/done_*.ipynb", user).stdout
    folders, names = (
        set(found)
        for found in zip(*re.findall(r"(/\S+)/(nbconvert-\w+)-ipc-\d", printed), strict=True)
    )
    assert len(names) == 2 and len(folders) == 1, printed
    mode = triton.run("login", f"stat --format=%a {folders.pop()}", user).stdout
    assert mode.strip().endswith("700")


def mails(triton, address):
    """The subjects of the mails to `address` that Slurm has handed over."""
    kept = triton.run("ctl", "cat /var/spool/slurmctld/mail", check=False).stdout
    return re.findall(rf"To: {re.escape(address)}\nSubject: (.*)", kept)


@pytest.mark.claims(
    "The subject says how it ended:",
    "An array sends one mail, when its last task has ended. With "
    "``--mail-type=END,FAIL,ARRAY_TASKS`` each task sends one.",
    "Without ``--mail-user`` it goes to your user name on the cluster, which need not be an "
    "address that you read.",
    "The subject says how it ended: ``COMPLETED``, for example, or ``FAILED``, with the "
    "name of the script and the time that it took. In a script, write the two options after"
    " ``#SBATCH``.",
)
def test_slurm_mails_how_a_job_ended(triton, user):
    """The options are those of the page: of a misspelt kind of mail Slurm may say nothing."""
    each, tasks = re.findall(r"\$ sbatch (--mail-type=\S+) --mail-user=\S+@", pages.read(PAGE))
    handed = (
        (f"--mail-user=one@example.org {each}", "true"),
        (f"--mail-user=two@example.org {each}", "false"),
        (f"--mail-user=array@example.org {each} --array=0-2", "true"),
        (f"--mail-user=tasks@example.org {tasks} --array=0-2", "true"),
        (each, "true"),
    )
    script = "\n#SBATCH ".join(["#!/bin/bash", each, "--mail-user=script@example.org"])
    triton.write("login", "mails.sh", f"{script}\ntrue\n", user)
    for options, command in (*handed, ("", "mails.sh")):
        wrapped = command if command.endswith(".sh") else f"--wrap={command}"
        submit = f"sbatch --mem=50M --time=1 --output=/dev/null {options} {wrapped}"
        triton.run(
            "login", f"{submit.replace(' ', ' --wait --job-name=mine ', 1)}", user, check=False
        )
    triton.run("ctl", "for i in $(seq 50); do pgrep -f /etc/slurm/mail || break; sleep 0.1; done")
    [ended], [failed] = mails(triton, "one@example.org"), mails(triton, "two@example.org")
    assert re.search(r"Name=mine Ended, Run time [\d:]+, COMPLETED, ExitCode 0", ended)
    assert "FAILED, ExitCode 1" in failed
    assert "COMPLETED" in mails(triton, "script@example.org")[0]
    assert len(mails(triton, "array@example.org")) == 1
    assert len(mails(triton, "tasks@example.org")) == 3
    assert len(mails(triton, user)) == 1
