"""What the page on cores and parallel work says is true on the small cluster."""

import json
import re

import pytest

from tools import pages
from tools.cluster import cluster
from tools.cluster.jupyter_server import CENTRAL, FACTS, Server

PAGE = "triton/tut/parallel.rst"
MINE = "squeue --noheader --me --name=dask-worker"


@pytest.fixture(scope="module")
def server(triton, user):
    with Server(triton, user, "-c 3 --mem=2G --time=20") as running:
        yield running


@pytest.mark.claims(
    "In a terminal ``echo $SLURM_CPUS_ON_NODE`` says it, in a notebook "
    "``%env SLURM_CPUS_ON_NODE``.",
    "Python itself counts the cores of the whole node, whatever your job has:",
    "So programs that take all cores, with ``os.cpu_count()`` or ``n_jobs=-1``, start far "
    "too many processes.",
    "``os.sched_getaffinity`` with 0 is right on clusters that tie a job to its cores, and "
    "counts the whole node on others. Slurm's number is right on both.",
)
def test_a_notebook_knows_its_cores_from_slurm_alone(triton, server):
    kernel = server.kernel()
    assert kernel.execute("%env SLURM_CPUS_ON_NODE")["result"] == "'3'"
    count = (
        "import joblib, os\n"
        "print(os.cpu_count(), joblib.effective_n_jobs(-1), len(os.sched_getaffinity(0)))"
    )
    whole, every, free = kernel.prints(count).split()
    assert whole == triton.run("login", "nproc --all").stdout.strip()
    assert every == free == triton.run("login", "nproc").stdout.strip()
    tied = (
        "!taskset -c 0 python3 -c 'import os; print(len(os.sched_getaffinity(0)), os.cpu_count())'"
    )
    assert kernel.prints(tied).split() == ["1", whole]


@pytest.mark.claims(
    "Ask for cores, and tell your program how many it has:",
    "``-c 4`` are four processor cores of one node, ``-p {{ partitions.interactive }}`` is for "
    "trying out. A program does not use them by itself, and asks nobody how many are yours: "
    "give it "
    "the number in ``SLURM_CPUS_ON_NODE``. Without ``-c`` a job has one core.",
    "- :doc:`sjupyter </triton/apps/jupyter/sjupyter>` - one; with ``-c 4``, four",
    "- :doc:`a batch job <serial>` - one; with ``#SBATCH`` and ``-c 4``, four",
    "One core each, and one for the notebook:",
    "- joblib, in :doc:`a batch job <serial>` with ``-c``",
)
def test_a_job_has_as_many_cores_as_it_asks_for(user):
    says = "printenv SLURM_CPUS_ON_NODE SLURM_JOB_NUM_NODES"
    for options, cores in (("", "1"), ("-c 4", "4")):
        assert user.run(f"srun --mem=50M {options} {says}").split() == [cores, "1"]
        lines = "".join(f"#SBATCH {line}\n" for line in (options, "--mem=50M") if line)
        user.write("~/cores.sh", f"#!/bin/bash\n{lines}{says}\n")
        assert user.run("sbatch --quiet --wait -o cores cores.sh; cat cores").split() == [
            cores,
            "1",
        ]
        job = user.run(f"sjupyter {options} --mem=500M -t 5 --detach --json")
        number = re.search(r'"job": "?(\d+)', job)[1]
        assert user.run(f"squeue --noheader --jobs={number} --format='%C %D'").split() == [
            cores,
            "1",
        ]
        user.run(f"sjupyter --stop {number}")
    four, three = re.search(r"sjupyter -c (\d) --cluster (\d)", pages.read(PAGE)).groups()
    assert int(four) == int(three) + 1


@pytest.mark.claims(
    "before you import NumPy: the number is read once, when the library is loaded.",
    "Say how many before the program starts:",
    "In a notebook that goes into the first cell, ``%env OMP_NUM_THREADS=4``, before you "
    "import NumPy: the number is read once, when the library is loaded.",
    "When you start several processes yourself, as below, write 1: four processes of four "
    "threads each are sixteen.",
)
def test_threads_are_counted_when_the_library_is_loaded(triton, server):
    """OpenBLAS starts its threads at that moment."""
    count = (
        "def threads():\n"
        "    return int(open('/proc/self/status').read().split('Threads:')[1].split()[0])\n"
        "before = threads()\nimport numpy\nprint(threads() - before)"
    )
    cores = int(triton.run("login", "nproc").stdout)
    assert server.kernel().prints(f"%env OMP_NUM_THREADS=1\n{count}").endswith("\n0")
    late = server.kernel()
    assert late.prints(count) == str(cores - 1)
    again = "%env OMP_NUM_THREADS=1\nnumpy.ones((99, 99)) @ numpy.ones((99, 99))\n"
    assert late.prints(f"{again}print(threads() - before)").endswith(f"\n{cores - 1}")


MODES = """import glob, os, numpy
from joblib import Parallel, delayed
def modes(array):
    places = map(os.stat, glob.glob("/dev/shm/joblib_*"))
    return {oct(place.st_mode & 0o777) for place in places if place.st_uid == os.getuid()}
print(*Parallel(n_jobs=2TEMP)([delayed(modes)(numpy.ones(2**20))])[0])"""


@pytest.mark.claims(
    "As it comes, joblib puts arrays of more than a megabyte where every user of the node can "
    "read them.",
    "Nobody else on a node can read the arrays that joblib hands to its processes.",
    "scikit-learn takes joblib, too, with ``n_jobs``. In a notebook here its arrays are yours "
    "alone.",
)
def test_nobody_else_reads_the_arrays_of_joblib(user, server):
    """Its folder is closed to others in a notebook, in one that a job executes, with the argument
    of the page, and with the line for a batch script.
    """
    plain = MODES.replace("TEMP", "")
    [argument] = re.findall(r", temp_folder=\S+(?=\))", pages.read("triton/tut/squares.py"))
    [export] = re.findall("export JOBLIB_.*", pages.read(PAGE))
    assert server.kernel().prints(plain) == "0o700"
    user.write("~/modes.py", plain)
    user.write("~/told.py", MODES.replace("TEMP", argument))
    look = f"{CENTRAL}/python"
    job = "srun -c 2 --mem=1G --quiet bash -c"
    assert user.run(f"{job} '{look} modes.py'") == "0o755\n", "joblib has mended it"
    assert user.run(f"{job} '{look} told.py; {export}; {look} modes.py'") == "0o700\n" * 2
    assert user.run(f"{job} '{CENTRAL}/jupyter run --kernel=python3 modes.py'") == "0o700\n"


@pytest.mark.claims(
    "A process that begins afresh, which Python calls spawn and forkserver, does not find it, "
    "ends, and is started again, for ever: ``Can't get attribute``, and the function's name.",
    "Then take joblib, which sends the function along; or save the function in a file of its own,",
    "joblib starts the processes, hands out the numbers and collects the results in order.",
    "The way that copies the kernel, fork, finds functions and stands still when the kernel"
    " has threads that hold a lock, which is as bad.",
    "A function that stands in a cell is known to the kernel alone.",
)
def test_a_pool_does_not_find_a_function_of_a_cell(triton, user, server):
    pool = """import multiprocessing
with multiprocessing.get_context({!r}).Pool(1) as pool:
    first = pool._pool[0].pid
    try:
        print(pool.map_async(square, [3]).get({}))
    except multiprocessing.TimeoutError:
        print("It was started again:", pool._pool[0].pid != first)"""
    kernel = server.kernel()
    kernel.prints("def square(number):\n    return number**2")
    for way in ("spawn", "forkserver"):
        printed = kernel.execute(pool.format(way, 20))
        said = printed["stdout"] + printed["stderr"]
        assert "It was started again: True" in said
        assert "Can't get attribute 'square' on <module '__main__' (built-in)>" in said
    cure = """import time
from joblib import Parallel, delayed
def late(number):
    time.sleep(1 / number)
    return square(number)
print(Parallel(2)(delayed(late)(number) for number in (1, 9, 3)))"""
    assert kernel.prints(cure) == "[1, 81, 9]", "in the order of the numbers"
    assert kernel.prints(pool.format("fork", 60)) == "[9]"
    held = """import threading
lock = threading.Lock()
threading.Thread(target=lambda: lock.acquire() and threading.Event().wait(60), daemon=True).start()
child = multiprocessing.get_context("fork").Process(target=lock.acquire, daemon=True)
child.start(); child.join(5); print(child.is_alive()); child.kill()"""
    assert kernel.prints(held) == "True"
    triton.write("login", "~/mine.py", "def square(number):\n    return number**2\n", user)
    kernel.prints("from mine import square")
    assert kernel.prints(pool.format("spawn", 60)) == "[9]"


STRANGER = """import gc, os, sys
from distributed import Client
from distributed.security import Security
gc.disable()  # closing a client that failed waits for the thread in which Python collects it
for address in sys.argv[1:]:
    for security in (None, Security.temporary()):
        try:
            with Client(address, security=security, timeout=4) as client:
                print("in as", client.run_on_scheduler(os.getuid), flush=True)
        except Exception as error:
            print("out", address, flush=True)
os._exit(0)
"""


# /etc/dask lets no Dask start without keys.
WITHOUT_THE_NODES_SETTINGS = 'import os; os.environ["DASK_ROOT_CONFIG"] = "/none"'


def dask(triton, user, text):
    """(number of the job that runs `text`, its addresses): Dask's scheduler and two workers."""
    last = "    print(client.submit(sum, squares).result())\n"
    assert text.endswith(last)
    stays = f"""{last}    client.wait_for_workers(2)
    where = lambda: __import__("wave").__file__
    print(*client.run(where).values(), where())
    workers = client.scheduler_info(n_workers=-1)["workers"]
    print(cluster.scheduler_address, *workers, "ready", flush=True)
    __import__("time").sleep(300)
"""
    triton.write("login", "~/stays.py", text.replace(last, stays), user)
    wrap = f"sbatch --parsable --mem=1G --output=dask-%j --wrap '{CENTRAL}/python stays.py'"
    job = triton.run("login", wrap, user).stdout.strip()
    user.wait_until(f"grep -q ready dask-{job}")
    printed = triton.run("login", f"cat dask-{job}", user).stdout
    assert "332833500" in printed
    return job, re.findall(r"t\w+://[\d.:]+", printed.splitlines()[-1])


@pytest.mark.claims(
    "As it comes, Dask listens on the network of the cluster and asks nobody who he is, and "
    "imports modules from a folder in ``/tmp`` that others can make before you: every user could "
    "run programs as you, and read and delete your files.",
    "With ``security=True`` it makes keys for this one run, in a folder that you alone can read, "
    "and refuses everybody who has none.",
    "Dask starts jobs of Slurm by itself, and spreads your calls over them.",
    "Leave out none of the lines about ``security``, pages and folders.",
    "Dask's web page shows what each worker does, and pieces of your code, and asks nobody "
    "for a password. So it is off here.",
    "- the dashboard of Dask - Off, since it asks nobody for a password:",
)
def test_dask_as_it_comes_obeys_strangers_and_this_one_does_not(triton, user):
    safe = pages.read("triton/tut/many_jobs.py")
    lines = "security=True|shared_temp_directory|worker_extra_args|dask.config|local_directory"
    as_it_comes = re.sub(rf"^ *({lines}).*\n|\"dashboard\": False, ", "", safe, flags=re.MULTILINE)
    as_it_comes = f"{WITHOUT_THE_NODES_SETTINGS}\n{as_it_comes}"
    stranger = triton.account()
    triton.write("login", "~/stranger.py", f"{WITHOUT_THE_NODES_SETTINGS}\n{STRANGER}", stranger)
    folder = "/tmp/dask-scratch-space"
    for node in triton.nodes:
        triton.run(node, f"mkdir -m 777 {folder} && echo > {folder}/wave.py", stranger)
    number = triton.run("login", "id -u", user).stdout.strip()
    for text, is_safe in ((as_it_comes, False), (safe, True)):
        job, addresses = dask(triton, user, text)
        assert len(addresses) == 3
        attack = f"{CENTRAL}/python stranger.py {' '.join(addresses[: 3 if is_safe else 1])}"
        printed = triton.run("login", f"timeout 100 {attack}", stranger).stdout
        assert (f"in as {number}" in printed) != is_safe, printed
        modules = triton.run("login", f"cat dask-{job}", user).stdout
        assert (folder in modules) != is_safe, modules
        assert printed.count("out") == (6 if is_safe else 1), printed
        page = f"http://{addresses[0].split('/')[-1].split(':')[0]}:8787/info/main/workers.html"
        look = f"curl --silent --output /dev/null --write-out %{{http_code}} {page}"
        assert triton.run("login", look, stranger).stdout == ("404" if is_safe else "200")
        triton.run("login", f"scancel {job}", user)
        user.wait_until(f'[ -z "$({MINE})" ]')
    for node in triton.nodes:
        triton.run(node, f"rm -r {folder}")


@pytest.mark.claims(
    "They end with the notebook's kernel, too.",
    "In a notebook, put everything down to ``cluster.scale`` into one cell, and ``client = "
    "Client(cluster)`` into the next. Each job is as large as ``cores`` and ``memory`` say."
    " They stand in ``squeue --me`` as dask-worker,",
    "End them when you are done: ``cluster.close()``.",
    "show ``distributed.progress(squares)`` in a notebook;",
    "look with ``squeue --me`` at the jobs.",
)
def test_the_jobs_of_dask_end_with_their_kernel(triton, user, server):
    text = pages.read("triton/tut/many_jobs.py").partition("with cluster, ")[0]
    assert text.splitlines()[-1].startswith("cluster.scale(")
    kernel = server.kernel()
    start = "client = Client(cluster)\nclient.wait_for_workers(2)"
    shows = "distributed.progress(client.map(square, [3]))"
    for end in ("cluster.close()", "import os; os.kill(os.getpid(), 9)"):
        kernel.prints(text)
        kernel.prints(start)
        sizes = triton.run("login", f"{MINE} --format='%C %m'", user).stdout.splitlines()
        cores, gigabytes = re.search(r'cores=(\d).*memory="(\d)GB"', text, re.DOTALL).groups()
        [size] = set(sizes)
        assert len(sizes) == 2 and size.split()[0] == cores
        assert abs(float(size.split()[1].rstrip("MG")) / 1000 - int(gigabytes)) < 0.1, size
        assert not kernel.execute(f"import distributed; {shows}")["stderr"]
        kernel.execute(end)
        user.wait_until(f'[ -z "$({MINE})" ]')


def each_alone(count):
    """What `count` copies of ranks.py print if they do not find each other."""
    return ["332833500 by 1 tasks on 1 nodes"] * count


@pytest.fixture(scope="module")
def mpi(triton, user):
    """The page's environment with MPI, and its two files."""
    environment = "$WRKDIR/envs/parallel"
    install = f"{environment}/bin/pip install --quiet mpi4py mpich"
    load = f"module load {FACTS.modules.python}"
    user.run(f"{load}; python3 -m venv {environment}; {install}", timeout=300)
    for name in ("ranks.py", "mpi.sh"):
        user.write(f"~/{name}", pages.filled(f"triton/tut/{name}"))
    return user.run(f"echo {environment}").strip()


@pytest.mark.claims(
    "Two nodes with two tasks each are four tasks. Each has a core of its own; ``--mem`` is for "
    "all tasks of one node together. ``srun`` starts the program once for each task, and by "
    "``--mpi`` each copy learns of the others.",
    "Without that option each copy is alone: you get four lines, each by one task.",
    "Leave out ``mpich``, and load the module in the script: ``mpi4py`` takes the MPI that it "
    "finds there.",
)
def test_mpi_tasks_find_each_other_by_pmi2_alone(user, mpi):
    """What a module sets is LD_LIBRARY_PATH."""
    script = pages.filled("triton/tut/mpi.sh")

    def lines(text):
        user.write("~/other.sh", text)
        job = user.run("sbatch --parsable --wait other.sh").strip()
        had = user.run(f"sacct --noheader --allocations --jobs={job} --format=AllocTRES%80")
        return user.run("cat mpi.out").splitlines(), set(had.strip().split(","))

    printed, had = lines(script.replace("--mpi=pmi2 ", ""))
    assert printed == each_alone(4) and "--mem=1G\n" in script
    assert {"cpu=4", "mem=2G", "node=2"} <= had
    user.run("python3 -m venv bare; bare/bin/pip install --quiet mpi4py", timeout=120)
    module = f"export LD_LIBRARY_PATH={mpi}/lib\nsrun --mpi=pmi2 bare/bin/python ranks.py\n"
    together = ["332833500 by 4 tasks on 2 nodes"]
    assert lines(script.partition("srun")[0] + module)[0] == together


LISTENS = """import psutil
from mpi4py import MPI
ports = [one for one in psutil.Process().net_connections("tcp") if one.status == "LISTEN"]
print(MPI.COMM_WORLD.allreduce(len(ports)))
"""


@pytest.mark.claims(
    "The tasks of MPI listen on the network of the cluster while they run,",
    "So leave out neither the line with the word NETMOD in ``mpi.sh``, nor the part with UCX in a "
    "cell.",
    "With the second, which is for one node, no port is open.",
)
def test_mpi_opens_no_port_of_ucx(user, mpi):
    """A task with UCX listens at two ports, with the line of the page at one."""
    user.run(f"{mpi}/bin/pip install --quiet psutil")
    user.write("~/listens.py", LISTENS)
    script = pages.filled("triton/tut/mpi.sh").replace("ranks.py", "listens.py")

    def ports(text):
        user.write("~/listens.sh", text)
        user.run("sbatch --wait listens.sh")
        return user.run("cat mpi.out").split()

    assert ports(script) == ["4"] * 4
    assert ports(re.sub(r"export .*NETMOD.*\n", "", script)) == ["8"] * 4
    [start] = re.findall(r"``!(UCX_TLS=.*?)``", pages.read("triton/tut/parallel.rst"))
    one_node = start.replace("ranks.py", "listens.py").replace("srun", "srun --nodes=1 --mem=1G")
    assert user.run(one_node).split() == ["0"] * 4


class Own(Server):
    """A server of `sjupyter`."""

    def __init__(self, triton, user, options):
        self.triton, self.user, self._client = triton, user, None
        user.run(f"sjupyter {options} --detach")
        said = json.loads(
            user.run("sjupyter --attach --detach --json", timeout=200).split("\n")[-2]
        )
        self._url, self.token = said["url"].split("/lab?token=")

    def end(self):
        self._hang_up()
        self.user.run("sjupyter --stop")


@pytest.mark.claims(
    "In a cell ``MPI.COMM_WORLD.size`` is 1, however many cores your server has: Jupyter has "
    "started the kernel, and not ``srun``.",
    "``srun`` has to start them.",
    "``!sbatch --wait mpi.sh`` makes a job of its own, on as many nodes as the script says. The "
    "cell ends when the job has ended.",
    "takes cores of your server: four, here. Has it fewer, you see "
    "``More processors requested than permitted``.",
    "The engines of ``--cluster`` are no MPI tasks either: in each engine the size is 1.",
)
def test_mpi_in_a_cell_is_alone_until_srun_starts_it(triton, user, mpi):
    [start] = re.findall(r"``(!UCX_TLS=.*?)``", pages.read("triton/tut/parallel.rst"))
    size = f"""def size():
    import os, sys
    sys.path.append("{mpi}/lib/{cluster.python()}/site-packages")
    os.environ["MPI4PY_LIBMPI"] = "{mpi}/lib/libmpi.so.12"
    from mpi4py import MPI
    return MPI.COMM_WORLD.size
"""
    with Own(triton, user, "-c 4 --cluster 2 --mem=2G -t 20") as own:
        kernel, alone = own.kernel(), own.kernel()
        assert alone.prints(f"{size}print(size())") == "1"
        assert kernel.prints(start).splitlines() == ["332833500 by 4 tasks on 1 nodes"]
        more = kernel.execute(start.replace("=4", "=5"))["stdout"]
        assert "More processors requested than permitted" in more
        kernel.prints("!rm -f mpi.out; sbatch --wait mpi.sh")
        assert kernel.prints("!cat mpi.out") == "332833500 by 4 tasks on 2 nodes"
        said = json.loads(user.run("cat $(ls -t .local/share/sjupyter/*/said.json | head -1)"))
        client = f"import ipyparallel\nclient = ipyparallel.Client({said['connection_file']!r})"
        alone.prints(f"{client}\nclient.wait_for_engines(2, timeout=60)")
        assert alone.prints("print(client[:].apply_sync(size))") == "[1, 1]"
