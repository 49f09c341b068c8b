"""What the page about AI assistants says of a language model in a job. The model has random
weights; llama.cpp, which runs it, is the real one.
"""

import contextlib
import re
import shlex

import pytest

from tools import pages
from tools.cluster import cluster
from tools.cluster.jupyter_server import Server
from tools.proof.stages import a_small_model_is_there

FACTS = cluster.facts()
PAGE = "triton/apps/jupyter/assistants.rst"
ASK = pages.read("triton/apps/jupyter/ask.py")
ENVIRONMENT = "$WRKDIR/envs/model"
# For a model that runs on: it says where it listens, and waits.
STAYS = (
    "print(params.hostnames, server.listening_address, flush=True); import time; time.sleep(300)"
)


@pytest.fixture(scope="module")
def user(triton):
    """Somebody with a model, and the page's environment and program."""
    name = triton.account()
    a_small_model_is_there(triton, name)
    make = f"python3 -m venv {ENVIRONMENT}; {ENVIRONMENT}/bin/pip install --quiet xllamacpp httpx"
    name.run(f"module load {FACTS.modules.python}; {make} ipykernel", timeout=300)
    name.write("~/ask.py", ASK)
    return name


@pytest.fixture
def running(triton, user):
    """A function that starts a program in a job, and returns (node, where the model listens)."""
    jobs = []

    def start(program):
        user.write("~/stays.py", program)
        command = f"{ENVIRONMENT}/bin/python stays.py"
        options = "--output=stays.out --mem=1G --time=9"
        job = user.run(f"rm -f stays.out; sbatch --parsable {options} --wrap='{command}'").strip()
        jobs.append(job)
        user.wait_until("grep -q '^\\[' stays.out")
        node = user.run(f"squeue --noheader --jobs={job} --format=%N").strip()
        return node, user.run("grep '^\\[' stays.out").split()[-1]

    yield start
    for job in jobs:
        user.run(f"scancel {job}")


def neighbour(triton, node):
    """A function that runs a command as another user in a job on `node`."""
    srun = f"srun --quiet -p {FACTS.partitions.interactive} -w {node} --mem=100M --time=5"
    stranger = triton.account()
    return lambda command: stranger.tries(f"{srun} bash -c {shlex.quote(command)}")


@pytest.mark.claims(
    "Nothing leaves the node. It works where there is no network at all, and opens no port.",
    "This runs one with llama.cpp, whose package ``xllamacpp`` needs no compiler:",
    "- a model that reads my data - :ref:`a model in a job <assistants-local>`: nothing "
    "leaves the node",
    "What nobody may see, ask a model that runs in a job of yours.",
    "Copy a model that llama.cpp can read to ``$WRKDIR``, under the name that stands in "
    "the program below.",
)
def test_a_model_needs_no_network_and_opens_no_port(triton, user, running):
    """In a network without a single interface that is up, the answer is one as well."""
    ask = f"SLURM_CPUS_ON_NODE=1 {ENVIRONMENT}/bin/python ask.py"
    answer = triton.run("login", ["unshare", "--net", "runuser", "-l", user, "-c", ask]).stdout
    assert re.search(r"^Answer: ( (\w+))+$", answer, re.MULTILINE), answer
    node, _ = running(ASK + STAYS)
    assert not triton.listening(node, user)
    sockets = triton.run(node, "ss --tcp --udp --all --numeric --no-header --processes").stdout
    own = triton.run(node, f"pgrep --euid {user} --full stays.py").stdout.split()
    assert own and not [pid for pid in own if f"pid={pid}," in sockets], sockets


@pytest.mark.claims(
    "Nobody else can ask the model, or read what you ask: the socket is a file in a folder of "
    "yours."
)
def test_no_neighbour_reaches_the_model(triton, user, running):
    node, address = running(ASK + STAYS)
    look = f"curl --silent --unix-socket {address.removeprefix('unix://')} http://localhost/health"
    job = user.run("squeue --me --noheader --states=RUNNING --format=%i").split()[0]
    assert "ok" in user.run(f"srun --quiet --jobid={job} --overlap {look}")
    there = neighbour(triton, node)
    refused = there(look)
    assert refused.returncode == 7 and not refused.stdout
    assert there(f"ls {address.removeprefix('unix://').rpartition('/')[0]}").returncode


@pytest.mark.claims(
    "Leave out the line with ``hostnames``, and the model listens at a port of the node, and asks "
    "nobody for a password: everybody there can use it."
)
def test_without_the_socket_strangers_ask_the_model(triton, running):
    [line] = re.findall(r"^params.hostnames = .*\n", ASK, re.MULTILINE)
    begin = ASK.replace(line, "").partition("\n\nquestion")[0] + "\n"
    node, address = running(begin + STAYS)
    kind = "--header 'Content-Type: application/json'"
    body = '{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}'
    asks = f"curl --silent --fail {kind} --data '{body}' {address}/v1/chat/completions"
    assert '"role":"assistant"' in neighbour(triton, node)(asks).stdout


@pytest.mark.claims(
    "What stands above the empty line in the middle goes into one cell, and is run once; the rest "
    "goes into the next cell, for each question anew.",
    "The model is gone when the job ends, or the kernel.",
    "Requests and answers have OpenAI's form, which many programs speak.",
    "The model with which this page was proved has random weights.",
    "start your server with memory and cores for the model: ``sjupyter -c 2 --mem=2G``, or more.",
)
def test_a_notebook_asks_a_model_again_and_again(triton, user):
    """With the page's kernel, in a server of its own."""
    register = "-m ipykernel install --user --name model"
    user.run(f"{ENVIRONMENT}/bin/python {register}")
    first, second = ASK.split("\n\nquestion")
    [options] = re.findall(r"``sjupyter (.*?)``, or more", pages.read(PAGE))
    with Server(triton, user, f"{options} --time=9") as server:
        kernel = server.kernel("model")
        assert kernel.prints(first) == ""
        for number in (5, 6):
            again = f"question{second}".replace("30", str(number))
            answer = kernel.prints(again + "print(answer.json()['object'], answer.json()['usage'])")
            assert answer.startswith("Answer: ") and "chat.completion" in answer, answer
            assert f"'completion_tokens': {number}" in answer
        process = kernel.prints("print(os.getpid())")
        node = user.run(f"squeue --noheader --jobs={server.job} --format=%N").strip()
        socket = kernel.prints("print(socket)")
        look = f"curl --silent --unix-socket {socket} http://localhost/health"
        assert "ok" in triton.run(node, look).stdout
        server.talk("ask", f"/api/kernels/{kernel.number}", None, "DELETE")
        with contextlib.suppress(AssertionError):
            triton.run(node, f"timeout 30 tail --pid={process} -f /dev/null")
        assert triton.run(node, look, check=False).returncode == 7
