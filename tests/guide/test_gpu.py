"""What the page on GPUs says beside its blocks."""

import re
import subprocess
import sys

import pytest

from tools import pages
from tools.cluster import cluster
from tools.cluster.jupyter_server import CENTRAL
from tools.files import ROOT
from tools.proof.amounts import NUMBERS
from tools.proof.reader import NOT_RUN

PAGE = "triton/tut/gpu.rst"
FACTS = cluster.facts()
pytestmark = pytest.mark.skipif(not FACTS.gpus, reason="triton/facts.toml has no GPUs")


@pytest.mark.claims(
    ":columns: name = GPU memory = Memory type = Type partition = Partition people = For whom"
)
def test_the_table_has_each_fact_below_its_name():
    table = pages.filled(PAGE).partition(".. facts-table:: gpus")[2].partition("\n\n")[0]
    columns = dict(re.findall(r"(\w+) = (.*)", table))
    assert columns.pop("name") == "GPU" and columns.pop("people") == "For whom"
    assert {key.capitalize() for key in columns} == set(columns.values()) and len(columns) == 3


@pytest.mark.claims("Of its four GPUs three are taken.")
def test_the_words_below_the_example_are_its_numbers():
    example = re.search(
        r"gpu:\w+:(\d)> +<word:gpu:\w+:(\d).*\n\n *Of its (\w+) GPUs (\w+) ", pages.read(PAGE)
    )
    has, taken, *words = example.groups()
    assert [int(has), int(taken)] == [NUMBERS[word] for word in words]


@pytest.mark.claims(
    "``-c 4`` and ``--mem=4G`` are those of the node, which read and prepare the data for the GPU.",
    "Without ``--gres`` there is none in your job:",
    "It was not run to prove this page, as it needs a card too.",
    "A GPU has memory of its own. ``--mem`` is that of the node.",
)
def test_cores_and_memory_are_those_of_the_node(triton):
    user = triton.account()
    options = f"--partition={FACTS.partitions.gpu} --gres=gpu:1 -c 4 --mem=4G --time=5"
    job = user.submit("sleep 60", options)
    user.wait_until(f"scontrol show job {job} | grep -q 'TRES=cpu=4,mem=4G,.*gres/gpu=1'")
    user.run(f"scancel {job}")
    assert user.tries(f"{CENTRAL}/python -c 'import jupyterlab_nvdashboard'").returncode
    without = f"srun -p {FACTS.partitions.gpu} --mem=50M printenv CUDA_VISIBLE_DEVICES"
    assert user.tries(without).stdout == ""


@pytest.mark.claims(
    "Its partition, ``-p {{ gpu.other_partition }}``, and its type, "
    "``--gres=gpu:{{ gpu.other_type }}:1``, stand in :ref:`the table <gpu-which>`,",
    "For a terminal without Jupyter, put ``srun`` in place of ``sjupyter``, and "
    "``--pty`` with ``bash`` at the end.",
    "An {{ gpu.other_name }} for two hours, interactively?",
)
def test_two_hours_with_another_gpu_in_a_terminal(triton):
    """Everybody may ask for it, and it is none of the type of the other examples."""
    user = triton.account()
    [line] = re.findall(r"sjupyter (-p .* -t 02:00:00)", pages.filled(PAGE))
    partition, kind = re.match(r"-p (\S+) --gres=gpu:(\w+):1 ", line).groups()
    assert (partition, kind, FACTS.gpus[0].people) in {
        (gpu.partition, gpu.type, gpu.people) for gpu in FACTS.gpus
    }
    assert kind != FACTS.gpus[0].type
    typed = f"srun {line} --pty bash"
    look = "(echo scontrol show job \\$SLURM_JOB_ID; echo exit)"
    shown = user.run(f"{look} | script -qec '{typed}' /dev/null", timeout=100)
    assert f"gres:gpu:{kind}:1" in shown and "TimeLimit=02:00:00" in shown, shown


@pytest.mark.claims(
    "Let your program take what it finds, and the same file runs in JupyterHub and on a GPU.",
    "Put your own training in the place of the last line of ``train.py``, with ``device`` in "
    "it, as "
    "``model.to(device)``.",
    "Add this line to ``gpu.sh``, before the last one, and look into ``gpu-use.csv``:",
    "The bar at the bottom shows :ref:`memory and processor <hub-load>`, not the GPU.",
    "These two commands were not run to prove this page.",
)
def test_the_same_file_runs_with_a_gpu_and_without(monkeypatch):
    """Its last line uses the device; the last line of the job runs it."""
    program, job = ((ROOT / "triton/tut" / name).read_text() for name in ("train.py", "gpu.sh"))
    assert job.splitlines()[-1] == "python3 train.py"
    assert "{device}" in program.splitlines()[-1] and "to(" not in program
    for numbers, device in (("", "cpu"), ("0", "cuda")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", numbers)
        run = [sys.executable, ROOT / "triton/tut/train.py"]
        assert f"on {device} " in subprocess.run(run, capture_output=True, text=True).stdout
    others = [lines for _, _, lines in pages.other_code(PAGE)]
    assert len(others) == 2 and set(others) == set(NOT_RUN[PAGE])
    looks, watches = (lines for lines in others if "nvidia-smi" in lines)
    assert looks.split("; ")[0].endswith(" nvidia-smi")
    assert watches.endswith(" > gpu-use.csv &")
