"""What a page assumes before its first block, in STAGES; a page without a stage assumes nothing."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Collection

from tools.cluster import cluster
from tools.cluster.jupyter_server import CENTRAL, let_in
from tools.cluster.small_triton import Triton
from tools.course import editions


def prepare(triton: Triton, page: str, user: str) -> None:
    """Prepare for `user` what `page` assumes."""
    for stage in STAGES.get(page, ()):
        stage(triton, user)


def a_server_died_of_memory(triton: Triton, user: str) -> None:
    """A kernel has used more memory than its server's job may, and Slurm has killed the job.

    Its log has a name like those of the hub's servers.
    """
    facts = cluster.facts()
    triton.write(
        "login", "~/greedy.py", "x = bytearray(2_000_000_000)\nimport time\ntime.sleep(60)\n", user
    )
    log = facts.logs.pattern.replace("~/", "").replace("*", "%j")
    job = (
        "#!/bin/bash\n#SBATCH --mem=300M --time=5 --job-name=spawner-jupyterhub\n#SBATCH "
        f"--output={log}\n"
        f"module load {facts.modules.jupyter}\njupyter run --kernel=python3 greedy.py\n"
    )
    triton.write("login", "~/server.sh", job, user)
    triton.run(
        "login",
        "sbatch --wait server.sh; rm server.sh greedy.py; cat jupyterhub_*.log",
        user,
        check=False,
    )


def repository(commands: str) -> str:
    """A shell script that makes the repository ~/analysis and runs `commands` in it.

    The command `save TEXT` writes TEXT into a notebook and commits it.
    """
    return f"""set -e
git config --global user.name Reader; git config --global user.email reader@example.org
git init --quiet --initial-branch=main analysis; cd analysis
save() {{ cat > analysis.ipynb <<NOTEBOOK
{json.dumps(NOTEBOOK, indent=1).replace("WORK", "$1")}
NOTEBOOK
git add analysis.ipynb; git commit --quiet -m "$1"; }}
{commands}
"""


def a_notebook_has_changed_since_its_commit(triton: Triton, user: str) -> None:
    """On the login node, a cell of the reader's notebook has changed since the last commit."""
    triton.run(
        "login",
        repository(
            "save 'mean = 6'; save 'mean = sum(data) / 3'; git reset --quiet --soft "
            "HEAD~; git reset --quiet"
        ),
        user,
    )


def a_colleague_changed_the_same_cell(triton: Triton, user: str) -> None:
    """On the reader's computer, main and two branches have changed the same cell."""
    triton.run(
        "laptop",
        repository("""save 'mean = sum(data) / 3'
git checkout --quiet -b colleague; save 'mean = sum(data) / len(data)'
git checkout --quiet -b experiment main; save 'mean = statistics.mean(data)'
git checkout --quiet main; save 'mean = sum(data) / 3.0'"""),
        user,
    )


NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "mean",
            "metadata": {},
            "outputs": [],
            "source": ["data = [3, 5, 10]\n", "WORK\n", "mean"],
        }
    ],
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}


def the_course_is_there(
    triton: Triton, user: str, names: Collection[str] = ("01-first-notebook", "08-shell")
) -> None:
    """The student edition is in the reader's home, with the notebooks `names` only: two are enough
    to see what a command does.
    """
    values = cluster.facts()
    course = {name: notebook for name, notebook in editions.load().items() if name in names}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in editions.student_files(
            course, values.site.url, values.in_words()
        ).items():
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(f"{editions.FOLDER}/{path}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    subprocess.run(
        triton.command("login", "tar --extract --no-same-owner", user),
        input=packed.getvalue(),
        check=True,
    )


def a_small_model_is_there(triton: Triton, user: str) -> None:
    """The reader's $WRKDIR has a model for llama.cpp. Its weights are random."""
    program = (cluster.HERE / "scripts/small_model.py").read_text(encoding="utf-8")
    triton.write("login", "~/small_model.py", program, user)
    install = f"{CENTRAL}/pip install --quiet --no-deps --target small_model gguf"
    make = f"PYTHONPATH=small_model {CENTRAL}/python small_model.py $WRKDIR/model.gguf"
    triton.run("login", f"{install} && {make} && rm -r small_model small_model.py", user)


def a_notebook_was_deleted(triton: Triton, user: str) -> None:
    """The reader's trash has a notebook, and a hidden folder the copy of one."""
    for path in (".local/share/Trash/files/lost.ipynb", ".ipynb_checkpoints/lost-checkpoint.ipynb"):
        triton.run("login", f"mkdir -p {path.rpartition('/')[0]}", user)
        triton.write("login", f"~/{path}", json.dumps(NOTEBOOK), user)


def git_wrote_into_a_notebook(triton: Triton, user: str) -> None:
    """The copy of the last save is whole."""
    triton.run("login", "mkdir -p .ipynb_checkpoints", user)
    whole = json.dumps(NOTEBOOK)
    triton.write("login", "~/.ipynb_checkpoints/results-checkpoint.ipynb", whole, user)
    triton.write("login", "~/results.ipynb", f"<<<<<<< HEAD\n{whole}", user)


STAGES: dict[str, list[Callable[[Triton, str], None]]] = {
    "notebooks/teaching.rst": [the_course_is_there],
    "scicomp/git.rst": [a_colleague_changed_the_same_cell],
    "triton/apps/jupyter/assistants.rst": [a_small_model_is_there],
    "triton/apps/jupyter/editors.rst": [let_in],
    "triton/apps/jupyter/git.rst": [a_notebook_has_changed_since_its_commit],
    "triton/apps/jupyter/hub.rst": [a_server_died_of_memory],
    "triton/apps/jupyter/faq.rst": [
        a_server_died_of_memory,
        a_notebook_was_deleted,
        git_wrote_into_a_notebook,
    ],
}
