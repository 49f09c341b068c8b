"""What the page on kernels says about containers. Debian 12 has no Apptainer: a stand-in has its
name, notes what it is asked for, and hides the folders that Apptainer would not show.
"""

import json
import re
import shlex

import pytest

from tools import pages
from tools.cluster import cluster
from tools.cluster.jupyter_server import CENTRAL, CLIENT
from tools.files import ROOT

FACTS = cluster.facts()
STAND_IN = (ROOT / "tests/data/commands/apptainer.sh").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def user(triton):
    """Somebody with the page's kernel, and the stand-in in front of all programs."""
    name = triton.account()
    folder = f"{FACTS.paths.user_kernels}/box"
    name.run(f"mkdir -p bin {folder}; touch $WRKDIR/box.sif")
    for program in ("apptainer", "singularity"):
        name.write(f"~/bin/{program}", STAND_IN.replace("HIDDEN", FACTS.paths.scratch), "755")
    spec = pages.filled("triton/apps/jupyter/container-kernel.json").replace("username", name)
    name.write(f"{folder}/kernel.json", spec)
    return name


@pytest.mark.claims(
    "The kernel finds the connection file and its sockets, because Jupyter keeps them in ``/tmp``.",
    "name those that your notebook reads, as the fourth word of this file does.",
    "An image in which ``ipykernel`` is installed becomes a kernel:",
    "Here the image lies in ``$WRKDIR``.",
    "So do not ask for a *contained* one, where that folder is another.",
    "and hid what lies in {{ paths.scratch }} beside those folders.",
    "What Apptainer or the program in the image prints is then in your terminal:",
    "the same lines are in :ref:`the log of your server <hub-logs>`, or in what ``sjupyter "
    "--logs`` prints.",
)
def test_a_kernel_in_a_container_finds_its_sockets(user):
    """Without its image it dies, and says so where the page looks."""
    user.run("PATH=~/bin:$PATH sjupyter -t 20 --mem=1G --detach")
    ways = json.loads(user.run("sjupyter --attach --detach --json", timeout=200).splitlines()[-1])
    url, _, token = ways["url"].partition("/lab?token=")

    def talk(*words):
        client = shlex.join([f"{CENTRAL}/python", "-c", CLIENT, url, token])
        return json.loads(user.run(client, input=json.dumps(words) + "\n"))

    kernel = talk("ask", "/api/kernels", {"name": "box"})["id"]
    code = f"import os; print(*os.listdir({FACTS.paths.work!r}), *os.listdir('/tmp'))"
    answer = talk("execute", kernel, code, 60)
    assert "stdout" in answer, (answer, user.tries("sjupyter --logs; cat asked").stdout)
    seen = answer["stdout"].split()
    assert seen[0] == user
    *words, connection = user.run("cat asked").split()
    work = f"{FACTS.paths.work}/{user}"
    run = ["python3", "-m", "ipykernel_launcher", "-f"]
    assert words == ["--bind", work, f"{work}/box.sif", *run]
    assert connection.startswith("/tmp/") and connection.split("/")[2] in seen
    text = " ".join(pages.read("triton/apps/jupyter/kernels.rst").split())
    [by_hand] = re.findall(r"Start it by hand: ``(.+?)``", text)
    user.write("~/where.py", "print('It starts')\n")
    by_hand = f"module load {FACTS.modules.jupyter}; PATH=~/bin:$PATH {by_hand}"
    assert user.run(by_hand).endswith("It starts\n")
    user.run("mv $WRKDIR/box.sif $WRKDIR/moved.sif")
    reason = f"cannot access '{work}/box.sif'"
    assert reason in user.tries(by_hand).stderr
    assert reason not in user.run("sjupyter --logs")
    talk("ask", "/api/kernels", {"name": "box"})
    user.wait_until(f'sjupyter --logs | grep --quiet "{reason}"')
    user.run("mv $WRKDIR/moved.sif $WRKDIR/box.sif")
    user.run("sjupyter --stop")


@pytest.mark.claims(
    "Its kernel starts Apptainer by the old name, and puts the connection file into the root "
    "folder of the image.",
    "``envkernel singularity`` writes such a file, too.",
)
def test_what_envkernel_gives_to_apptainer(user):
    load = f"module load {FACTS.modules.jupyter}"
    user.run(f"{load}; envkernel singularity --user --name=other $WRKDIR/box.sif")
    user.write("~/one.py", "1\n")
    user.tries(f"{load}; PATH=~/bin:$PATH jupyter run --kernel=other one.py")
    bind, mounted, image, *run, connection, _ = user.run("cat asked").split()
    assert (bind, image) == ("--bind", f"{FACTS.paths.work}/{user}/box.sif")
    assert mounted.endswith(f":{connection}") and connection.count("/") == 1
    assert run == ["python", "-m", "ipykernel_launcher", "-f"]


@pytest.mark.claims(
    "No. Whoever starts containers with Docker can become root of the node, and read the "
    "files of all.",
)
@pytest.mark.proves("faq-docker")
def test_nobody_may_start_docker(user, entry):
    assert user.tries("docker ps").returncode and "docker" not in user.run("id --name --groups")
    assert "container-kernel" in entry.do


@pytest.mark.claims(
    "Debian 12, of which the small cluster is made, does not have it. A stand-in had its "
    "name there,",
    "Apptainer itself was not run to prove this section:",
)
def test_the_small_cluster_has_no_apptainer(triton):
    user = triton.account()
    assert user.run(". /etc/os-release; echo $ID $VERSION_ID") == "debian 12\n"
    assert user.tries("type apptainer").returncode
