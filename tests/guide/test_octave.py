"""What the page on kernels says of Octave, with Octave itself."""

import base64
import json

import pytest

from tools.cluster import cluster
from tools.cluster.hub import notebook
from tools.cluster.jupyter_server import Server

FACTS = cluster.facts()
ENVIRONMENT = "$WRKDIR/envs/octave"
LOOK = """x = linspace(0, 1);
plot(x, x .^ 2)
disp(getenv("LOADEDMODULES")), disp(getpid())"""


@pytest.fixture(scope="module")
def user(triton):
    """Somebody with the page's kernel."""
    name = triton.account()
    make = f"python3 -m venv {ENVIRONMENT}; {ENVIRONMENT}/bin/pip install --quiet octave_kernel"
    name.run(f"module load {FACTS.modules.python}; {make}", timeout=300)
    command = f"{ENVIRONMENT}/bin/python -m octave_kernel -f {{connection_file}}"
    kernel = f'--name=octave --display-name=Octave --language=octave --kernel-cmd="{command}"'
    envkernel = f"envkernel lmod --user {kernel} {FACTS.modules.octave}"
    name.run(f"module load {FACTS.modules.jupyter}; {envkernel}")
    return name


@pytest.mark.claims(
    "In a notebook plots stand below their cell, and nobody else on the node reaches the kernel.",
    "``--kernel-cmd`` is what starts after the module is loaded,",
)
def test_a_notebook_in_octave_draws_and_is_private(triton, user):
    """It has the one port of every ipykernel, which receives the output of forked children and
    sends nothing.
    """
    user.write("~/plot.ipynb", notebook([LOOK], "octave", "octave"))
    run = "jupyter nbconvert --to notebook --execute --inplace plot.ipynb"
    user.run(f"module load {FACTS.modules.jupyter}; {run}", timeout=200)
    [cell] = json.loads(user.run("cat plot.ipynb"))["cells"]
    pictures = [
        output["data"]["image/png"] for output in cell["outputs"] if "image/png" in str(output)
    ]
    assert [base64.b64decode(picture)[:4] for picture in pictures] == [b"\x89PNG"]
    printed = "".join("".join(output.get("text", "")) for output in cell["outputs"])
    assert f"{FACTS.modules.octave}/" in printed, printed
    with Server(triton, user, "--mem=1G --time=9") as server:
        kernel = server.kernel("octave")
        assert "45" in kernel.prints("disp(sum(magic(3)(:)))")
        node = user.run(f"squeue --noheader --jobs={server.job} --format=%N").strip()
        listening = triton.listening(node, user)
        assert [ports for args, ports in listening.items() if "octave_kernel" in args] == [1]
