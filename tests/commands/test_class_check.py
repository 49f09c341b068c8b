"""class-check says before a class what would go wrong in it: for one person, for a room of people,
for the notebooks.
"""

import concurrent.futures
import contextlib
import dataclasses
import http.server
import json
import re
import runpy
import shlex
import ssl
import threading
import time
from pathlib import Path

import pytest

from tools.cluster import cluster
from tools.cluster.hub import notebook
from tools.course import editions
from tools.files import ROOT
from tools.proof import stages

FACTS = cluster.facts()
PROFILE = FACTS.course.profile
# A profile with one seat on each node.
WHOLE = next(profile.name for profile in FACTS.profiles if not profile.kill_gb)
# Each kernel, and one that starts programs.
NOTEBOOKS = [name for name in editions.load() if name[:2] in ("01", "05", "08", "09")]
PYTHON = f"{FACTS.paths.jupyter_env}/bin/python"


def check(me, options="", before="", **more):
    """What class-check finds, as dicts, by what they are about; `all` has those that are about the
    same thing.
    """
    done = me.tries(f"{before} class-check --json {options}", **more)
    assert "Traceback" not in done.stderr, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found, done.stderr
    bad = [finding for finding in found if finding["good"] is False]
    assert done.returncode == bool(bad)
    for finding in bad:  # each says what to do
        assert finding["remedy"].endswith((".", "=" + finding["about"])), finding
    same = {finding["about"]: [] for finding in found}
    for finding in found:
        same[finding["about"]].append(finding)
    return {about: findings[-1] | {"all": findings} for about, findings in same.items()}


def wrong(found):
    return {about for about, finding in found.items() if finding["good"] is False}


def left(me):
    """What is there of earlier runs: jobs, files, the shell that cleans up."""
    return me.sees(
        "squeue --me --noheader --states=pending,running; find .local/share/class-check "
        "$WRKDIR -name '*class-check-*'; pgrep --uid $USER --exact sh"
    )


@pytest.fixture(scope="module")
def module():
    """class-check, as a dict of what is in it."""
    return runpy.run_path(str(ROOT / "triton/bin/class-check"))


# ---------------------------------------------------------------- one person


def test_it_says_what_it_means_that_all_servers_have_one_name(module):
    """Where the hub has no wildcard name, a link to another's server is dangerous; elsewhere it is
    silent.
    """
    one_name = dataclasses.replace(FACTS.hosts, servers=FACTS.hosts.hub)
    [told] = module["names"](one_name)
    danger = "whoever opens a link to another user's server .*Administrators: give each user a name"
    assert re.search(danger, told.said)
    assert list(module["names"](FACTS.hosts)) == []


@pytest.mark.claims(
    "Names that others chose steer no terminal when ``class-check`` and ``sjupyter`` print them."
)
def test_names_that_steer_a_terminal_are_written_out(me):
    """Of a kernel and a notebook of somebody's course: a terminal would follow them, and what
    follows an end of line would pass for a finding.
    """
    name = "mine\nok     all\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
    kernel = json.dumps({"metadata": {"kernelspec": {"name": name}}})
    me.run("mkdir course; cat > course/kernel.ipynb", input=kernel)
    me.run(f"touch course/{shlex.quote(name)}.ipynb")
    printed = me.sees("class-check --folder course 2>&1")
    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    written = r"mine\nok     all\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
    assert f"kernel {written}: It does not start" in printed
    assert f"course/{written}.ipynb is no notebook" in printed


@pytest.mark.parametrize(
    "content, expected",
    [
        ("numpy>=2\r\ntidy\r\n".encode("utf-16"), ["numpy>=2", "tidy"]),  # of Windows PowerShell
        (b"\xef\xbb\xbfnumpy>=2\ntidy\n", ["numpy>=2", "tidy"]),
        ("# für alle\nnumpy>=2\ntidy\n".encode("latin-1"), ["numpy>=2", "tidy"]),
        (b"numpy>=2 \\\n  --hash=sha256:0a \\\n  --hash=sha256:0b\n--pre\n", ["numpy>=2"]),
        (b"https://example.org/a.whl\n./here\n-r more.txt\ntidy # why", ["tidy"]),
        (b"tidy @ https://example.org/t.whl", ["tidy @ https://example.org/t.whl"]),
        (None, []),
    ],
    ids=["UTF-16", "Notepad", "latin-1", "hashes", "no names", "address", "no file"],
)
def test_requirements_are_read_whatever_wrote_them(module, tmp_path, content, expected):
    file = tmp_path / "requirements.txt"
    if content is not None:
        file.write_bytes(content)
    assert module["requirements"](file) == expected


@pytest.fixture
def serves(tmp_path, monkeypatch, triton):
    """serves(since, days) answers with a certificate of so many days; the address.

    SSL_CERT_FILE trusts it.
    """
    both = str(tmp_path / "key-and-certificate")
    with contextlib.ExitStack() as stack:

        def begin(since, days):
            make = (
                f"{f'faketime {since!r}' * bool(since)} openssl req -x509 -newkey ec -pkeyopt "
                f"ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN=localhost -addext "
                "subjectAltName=DNS:localhost -keyout - -out -"
            )
            Path(both).write_text(triton.run("laptop", make).stdout)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(both)
            handler = http.server.SimpleHTTPRequestHandler
            server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
            stack.enter_context(server)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"localhost:{server.server_port}"

        monkeypatch.setenv("SSL_CERT_FILE", both)
        monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
        yield begin


@pytest.mark.parametrize(
    ("since", "days", "says"),
    [
        ("", 30, "ends in 29 days, on 20"),
        ("", 10, "ends in 9 days, on 20"),
        ("", 1, "ends in 0 days"),
        ("20 days ago", 10, "not trusted: certificate has expired"),
        ("unknown", 30, "not trusted: self-signed certificate"),
    ],
)
@pytest.mark.claims(
    "If browsers will refuse the certificate of the hub, now or within two weeks, it says so "
    "everywhere.",
    "Before a class you are told of a certificate of the hub that browsers will refuse,",
    "and of one that lacks the names of users' servers.",
)
def test_a_certificate_that_browsers_will_refuse_is_told(
    module, serves, monkeypatch, since, days, says
):
    """So nothing is called well when the certificate of the hub ends before the class, is not
    trusted, or is good for the hub alone, so that nobody would come to a notebook.
    """
    address = serves(since.removeprefix("unknown"), days)
    if since == "unknown":
        monkeypatch.delenv("SSL_CERT_FILE")
    hosts = dataclasses.replace(FACTS.hosts, hub=address, servers=address)
    found = module["certificates"](hosts)
    good = says.startswith("ends in 29")
    assert found.good is good and says in found.said and bool(found.remedy) is not good, found
    assert module["websocket"](address).good is None
    if good:
        other = address.replace("localhost", "127.0.0.1")
        found = module["certificates"](dataclasses.replace(hosts, servers=other))
        assert not found.good and other in found.said, found


@pytest.fixture(scope="module")
def course(triton, person):
    """Somebody with the student edition, on nodes that no job of an earlier test holds."""
    queue = "squeue --noheader --format=%A"
    triton.run("ctl", f"{queue} | xargs --no-run-if-empty scancel", check=False)
    triton.run("ctl", f'while [ -n "$({queue})" ]; do sleep 0.2; done', timeout=60)
    one = person()
    stages.the_course_is_there(triton, one, NOTEBOOKS)
    return one


@pytest.fixture
def reserve(triton):
    """reserve(user, nodes, begin) makes a reservation and returns its name."""
    made = []

    def new(user, nodes, begin="now"):
        made.append(f"class{len(made)}")
        triton.run(
            "ctl",
            f"scontrol create reservation reservationname={made[-1]} users={user} "
            f"starttime={begin} duration=11:00:00 nodes={nodes} flags=ignore_jobs,magnetic",
        )
        return made[-1]

    yield new
    for name in made:
        triton.run("ctl", f"scontrol delete reservation={name}", check=False)


@pytest.mark.claims(
    "The first looks at what one person needs: kernels, packages, room on the disks, data, Slurm, "
    "the clock.",
    "``interactive`` is where ``sjupyter``, ``class-check`` and the hub start their jobs.",
    "Each says one finding a line, in plain text, with the remedy below. With ``> result.txt``"
    " behind the command you have a page to mail to the admins, or to keep.",
)
def test_who_has_all_that_the_course_needs_is_told_so(course):
    """In plain words; and whose clock is wrong, that."""
    words = f"--folder {editions.FOLDER} --profile {shlex.quote(PROFILE.upper())}"
    printed = course.run(f"srun --mem=10G --quiet class-check {words} > result.txt; cat result.txt")
    lines = printed.splitlines()
    assert len(lines) < 60 and all(map(str.isprintable, lines)), "this is no page to mail"
    assert printed.endswith("All is well.\n") and "WRONG" not in printed
    assert f" could start in {FACTS.partitions.interactive} " in printed
    kinds = "kernel python3|packages of python3|kernel bash|kernel ir|home|work|temporary files|"
    for about in (kinds + "data|memory|Slurm|partition|clock").split("|"):
        assert re.search(rf"^ok {{3}}  {about}: .*\.$", printed, re.MULTILINE), about
    clock = "export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1) FAKETIME=+100s;"
    found = check(course, before=clock)
    assert wrong(found) == {"clock"}, found
    assert re.search(r"is (99|100|101) s ahead of Slurm's", found["clock"]["said"])
    seen = found["notebooks"]  # outside of the course
    assert seen["good"] is None and "--folder DIR names its folder" in seen["said"]


@pytest.mark.claims("Below what is wrong stands a remedy.")
def test_whatever_is_not_there_is_told_with_what_to_do(me, person, reserve):
    name, lib = reserve(me, "c1"), f"{FACTS.paths.home}/{me}/lib"
    me.run(
        f"mkdir -p data {lib}/numpy-1.0.dist-info; touch data/daylight.csv; printf 'Name: "
        f"numpy\\nVersion: 1.0\\n' > {lib}/numpy-1.0.dist-info/METADATA;"
        "printf 'numpy>=2  # arrays\\nnotapackage\\nno package\\n' > "
        "requirements.txt; echo '{' > broken.ipynb"
    )
    me.write("~/absent.ipynb", notebook(["1"], "absent"))
    me.write("~/python.ipynb", notebook(["1"]))
    words = f"--partition nowhere --reservation {name}x --data /proc/self/mem"
    found = check(me, words, "export PYTHONPATH=~/lib; srun --mem=1G --quiet")
    said = {about: finding["said"] for about, finding in found.items()}
    packages = "packages of python3"
    things = {"notebooks", "kernel absent", packages, "data", "memory", "reservation"}
    assert wrong(found) == things, found
    assert "broken.ipynb" in said["notebooks"] and "absent" in said["kernel absent"]
    empty, unread = (finding["said"] for finding in found["data"]["all"])
    assert "daylight.csv is empty" in empty
    assert unread == "/proc/self/mem: Input/output error."
    assert "1.0 GB" in said["memory"] and PROFILE in found["memory"]["remedy"]
    lines = " ".join(finding["said"] for finding in found[packages]["all"])
    assert f"numpy is 1.0, in {lib}, and the course needs >=2" in lines
    assert "notapackage is not installed" in lines
    assert "'no package', which names no package" in lines
    assert any(f"{lib}/numpy*" in finding["remedy"] for finding in found[packages]["all"])
    said = check(me, "--room 1 --partition nowhere")["partition"]["said"]
    assert "invalid partition specified" in said
    said = check(person(), f"--room 1 --reservation {name}")["partition"]["said"]
    assert "Access denied to requested reservation" in said


@pytest.mark.claims(
    "``class-check`` runs nothing that others have put into the folder of a course, and waits for "
    "none of their files."
)
def test_files_of_others_in_the_folder_do_no_harm(me):
    """What others have put into the folder is neither run nor waited for.

    Files that are called like a module, or that R reads at its start; and a pipe, a device or a
    large file where a notebook or a list should be; and notebooks that take much memory.
    """
    names = (
        "types runpy typing json argparse ssl stat pkgutil queue socket signal site "
        "sitecustomize ipykernel ipykernel_launcher IPython jupyter_client zmq traitlets "
        "packaging"
    )
    ran = f"/home/{me}/ran"
    me.run(
        f"mkdir shared pipes devices large; for name in {names}; do "
        f'echo \'open("{ran}", "w")\' > shared/$name.py; done; '
        f"echo 'file.create(\"{ran}\")' > shared/.Rprofile; echo numpy > shared/requirements.txt; "
        "mkfifo pipes/a.ipynb pipes/requirements.txt pipes/data; "
        "for name in a.ipynb requirements.txt data; do ln -s /dev/zero devices/$name; done; "
        "truncate --size=2M large/requirements.txt; truncate --size=300M large/a.ipynb"
    )
    me.write("~/shared/r.ipynb", notebook(["1"], "ir"))
    me.write("~/shared/python.ipynb", notebook(["1"]))
    found = check(me, before="cd shared; PYTHONPATH=:$HOME")
    for about in ("kernel python3", "kernel ir", "packages of python3"):
        assert found[about]["good"], found[about]
    assert me.sees("ls ran") == ""
    me.run(
        "mkdir bombs; (printf '{\"a\":['; yes '[],[],[],[]' | head -c 60M | tr '\\n' ,; "
        "printf '0]}') > bombs/many.ipynb; yes '[' | head -c 2M | tr -d '\\n' > bombs/deep.ipynb"
    )
    done = me.tries("ulimit -S -v 1000000; class-check --folder bombs")
    for name in ("many", "deep"):
        assert f"bombs/{name}.ipynb is no notebook that names its kernel." in done.stdout, done
    for place, why in (("pipes", "is no file"), ("devices", "is no file"), ("large", "has more")):
        found = check(me, f"--folder {place}", "timeout 60")
        said = {about: finding["said"] for about, finding in found.items()}
        assert said["notebooks"].endswith("a.ipynb is no notebook that names its kernel.")
        assert f"requirements.txt {why}" in said["requirements"]
        assert place == "large" or said["data"].endswith("data is no file.")


@pytest.mark.claims(
    "Ask for one with the flag MAGNETIC: servers of the hub name no reservation, and would wait "
    "while its nodes are idle."
)
def test_a_reservation_that_keeps_out_the_hub_is_told(triton, person, reserve):
    """The job of a server is one that names no reservation."""
    me = person()
    name = reserve(me, "ALL")
    options = f"-p {FACTS.partitions.interactive} --mem=100M"
    inside = me.submit("sleep 99", options)
    look = f"squeue --noheader --jobs={inside} --format='%T %v'"
    me.wait_until(f'[ "$({look})" = "RUNNING {name}" ]')
    assert check(me, f"--room 1 --reservation {name}")["reservation"]["good"]
    me.run("scancel --me")
    triton.run("ctl", f"scontrol update reservation={name} flags-=magnetic")
    waits = me.submit("sleep 99", options)
    found = check(me, f"--room 1 --reservation {name}")
    assert wrong(found) == {"reservation"} and "MAGNETIC" in found["reservation"]["remedy"]
    assert "(null)" in me.run(f"squeue --noheader --states=PENDING --jobs={waits} --format=%v")
    me.run("scancel --me")


def test_a_full_home_and_a_silent_slurm_are_told(person):
    me = person(cluster.FULL_USER)
    me.write(
        "/tmp/silent.conf",
        "ClusterName=none\nSlurmctldHost=c1(10.44.0.11)\nSlurmctldPort=9\n"
        "MessageTimeout=2\nNodeName=c1\nPartitionName=p Nodes=ALL\n",
    )
    found = check(me, before="cd /tmp; export SLURM_CONF=/tmp/silent.conf;")
    assert wrong(found) == {"home", "Slurm"}
    assert "No space left on device" in found["home"]["said"]
    assert "du -sh" in found["home"]["remedy"]
    assert "controller does not answer" in found["Slurm"]["said"]


def test_wrong_usage_gets_one_sentence(course):
    for options, says in (
        ("--profile Huge", f"no profile 'Huge', but: .*{PROFILE}"),
        ("--profile A", "no profile 'A', but:"),
        ("--room 0", "1 to 1000 seats"),
        ("--room many", "invalid int"),
        ("--room 3 --notebooks", "two commands"),
        ("--folder nowhere", "nowhere is no folder"),
        ("-- -A course", "for the jobs of --room and --notebooks"),
        ("--notebooks --folder /tmp", "no notebook in /tmp"),
        ("--rooms 3", "unrecognized arguments"),
        ("--room 3 -- -vW", "-vW cannot be given: sbatch's --wait is class-check's own"),
    ):
        done = course.tries(f"class-check {options}")
        assert done.returncode == 2 and re.search(says, done.stderr), done
        assert "Traceback" not in done.stderr and not done.stdout


# ---------------------------------------------------------------- the room


@pytest.mark.claims(
    "The third is a rehearsal. Forty probes, each as large as a server of the profile *{{ "
    "course.profile }}*, keep their places until all have one. It says whether forty people could "
    "start at once, how long the slowest took,",
    "With ``--reservation``, ``class-check --room`` tries the seats of a reservation,",
)
def test_forty_seats_in_a_reservation_get_a_place_at_once(triton, course, reserve, record_property):
    name, began = reserve(course, "ALL"), time.monotonic()
    found = check(course, f"--room 40 --reservation {name}", timeout=200)
    took = time.monotonic() - began
    assert not wrong(found), found
    numbers = found["room"]["numbers"]
    assert numbers["seats"] == numbers["ready"] == 40 and 0 < numbers["slowest"] < took
    assert sum(found[node]["numbers"]["seats"] for node in triton.nodes) == 40
    assert "the slowest was ready after" in found["room"]["said"] and not left(course)
    record_property(
        "measured",
        f"A rehearsal with 40 seats on {len(triton.nodes)} nodes takes {took:.0f} s; the "
        f"slowest seat was ready after {numbers['slowest']:.0f} s.",
    )


@pytest.mark.claims(
    "It has no nbgrader, so nothing collects what students hand in, and nothing gives marks."
)
def test_the_hub_has_no_nbgrader(course):
    """Its servers start in this environment."""
    look = (
        "from importlib.util import find_spec; print(find_spec('nbgrader'), find_spec('IPython'))"
    )
    found = course.run([PYTHON, "-c", look])
    assert found.startswith("None ModuleSpec"), found


@pytest.mark.claims("tries the seats of a reservation, once that has begun.")
def test_too_few_places_or_none_yet_are_told(course, reserve):
    """How many there are; and before anything is submitted, that the reservation has not begun."""
    found = check(course, f"--room 1 --reservation {reserve(course, 'c2', begin='now+1hour')}")
    assert wrong(found) == {"room"}
    assert "before the reservation begins" in found["room"]["said"]
    assert found["reservation"]["good"] and found["partition"]["good"]
    found = check(course, f"--room 14 --wait 15 --reservation {reserve(course, 'c1')}")
    assert wrong(found) == {"room"} and found["room"]["numbers"]["ready"] == 12
    assert "2 wait for a place (Resources)" in found["room"]["said"]
    assert "less memory" in found["room"]["remedy"] and not left(course)


def empty(place, missing=""):
    """How a node loses a mounted place, and gets it back."""
    path = getattr(FACTS.paths, place)
    make = f"mount -t tmpfs -o mode=755 empty {path}"
    return make, f"umount {path}", f"{missing or path}: it is not mounted there"


# What to do on a node to make it sick, what heals it, and what is said of it.
SICK = {
    "home": empty("home"),
    "scratch": empty("scratch", FACTS.paths.work),
    "apps": empty("apps"),
    "tmp": (
        "mount -t tmpfs -o size=1M,mode=1777 small /tmp",
        "umount /tmp",
        "/tmp: No space left on device",
    ),
    "broken": (
        "mkdir /tmp/broken; printf '#!/bin/sh\\necho no library >&2; exit 1\\n' > "
        "/tmp/broken/python; chmod -R 755 /tmp/broken; mount --bind /tmp/broken "
        f"{PYTHON.rpartition('/')[0]}",
        f"umount {PYTHON.rpartition('/')[0]}; rm -r /tmp/broken",
        f"{FACTS.paths.apps}: {PYTHON} does not work: no library",
    ),
    "fails": (
        "mount --bind /bin/false /usr/bin/python3",
        "umount /usr/bin/python3",
        "jobs end at once there: FAILED, exit status 1",
    ),
    "hangs": (
        "printf '#!/bin/sh\\nsleep 100\\n' > /tmp/hang; chmod 755 /tmp/hang; mount "
        "--bind /tmp/hang /usr/bin/python3",
        "umount /usr/bin/python3; rm /tmp/hang",
        "does not answer",
    ),
    "clock": (
        "echo -100s > /etc/faketimerc; ls /usr/lib/*/faketime/libfaketime.so.1 > "
        "/etc/ld.so.preload",
        "rm /etc/ld.so.preload /etc/faketimerc",
        r"its clock is (9\d|100) s or more behind",
    ),
    "drained": (
        "scontrol update nodename=$(hostname -s) state=drain reason='bad disk'",
        "scontrol update nodename=$(hostname -s) state=resume",
        r"no job here: it is drained \(bad disk\)",
    ),
}


@pytest.mark.parametrize(
    "nodes, ready, wait",
    [
        ({"c1": "home", "c2": "tmp scratch", "c3": "clock", "c4": "hangs"}, 1, 20),
        ({"c1": "apps", "c2": "fails", "c3": "broken", "c4": "drained"}, 0, 10),
        ({"c2": "scratch", "c3": ""}, 3, 20),
    ],
    ids=["one", "two", "three healthy ones"],
)
@pytest.mark.claims("and which node is sick.")
def test_each_sick_node_is_named_with_what_is_wrong_there(triton, course, nodes, ready, wait):
    """Those that are healthy are not called sick beside them."""
    with contextlib.ExitStack() as heal:
        for node, ways in nodes.items():
            for make, mend, _ in map(SICK.get, ways.split()):
                heal.callback(triton.run, node, mend)
                triton.run(node, make)
        found = check(course, f"--room 4 --wait {wait} --profile '{WHOLE}'")
    for node, ways in nodes.items():
        for way in ways.split():
            assert re.search(SICK[way][2], found[node]["said"]), f"{way}: {found[node]}"
            assert found[node]["good"] is (None if way == "drained" else False)
        # Nothing else is said.
        assert found[node]["said"].count(";") == max(ways.count(" "), 0), found[node]
    assert wrong(found) == {"room", *(node for node in nodes if nodes[node] not in ("", "drained"))}
    assert "came to a sick node" in found["room"]["said"]
    assert found["room"]["numbers"]["ready"] == ready, "also where only the clock is wrong"
    assert not left(course)


@pytest.mark.claims("However it ends, its jobs end too.")
def test_however_it_is_ended_no_job_and_no_file_of_it_is_left(person):
    script = (ROOT / "tests/data/commands/end_class_check.sh").read_text(encoding="utf-8")

    def end(signal, me):
        ended = me.sees(f"set -- {signal}\n{script}").split()[-3:]
        for _ in range(150):  # who was killed outright cannot wait for the end of the jobs
            if not (remains := left(me)):
                break
            time.sleep(0.4)
        return [*ended, remains]

    signals = {"INT": 130, "TERM": 143, "HUP": 129, "KILL": 137}
    people = [person() for _ in signals]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for (signal, status), said in zip(
            signals.items(), pool.map(end, signals, people), strict=True
        ):
            assert said == ["PENDING", "RUNNING", str(status), ""], signal


# ---------------------------------------------------------------- the notebooks


@pytest.fixture(scope="module")
def reserved(triton, person):
    """A job for hours, in a reservation that ends in two seconds."""
    me = person()
    triton.run(
        "ctl",
        f"scontrol create reservation reservationname=ends users={me} starttime=now "
        "duration=60 nodes=c4 flags=ignore_jobs",
    )
    words = "--parsable --reservation=ends --time=10:00:00 --output=/dev/null"
    job = me.run(f"sbatch {words} --wrap='sleep 1000'").strip()
    triton.run(
        "ctl",
        f'for i in $(seq 100); do [ "$(squeue -h -j {job} -o %T)" = RUNNING ] && break; '
        "sleep 0.1; done; "
        "scontrol update reservationname=ends endtime=$(date --date='2 seconds' +%FT%T)",
    )
    return me, job


OVER_NO_NETWORK = """import json
from ipykernel.connect import get_connection_file
assert json.load(open(get_connection_file()))["transport"] == "ipc\""""


@pytest.mark.claims(
    "The second runs each notebook as a job, all at once, and names the first cell that would "
    "fail in the room. Checks of exercises may fail: nobody has solved them yet."
)
def test_the_first_cell_that_would_fail_is_named(course, reserved, record_property):
    """Every notebook is run, in a kernel of which nobody else on the node reads the messages."""
    course.run(f"cp -rT {editions.FOLDER} spoilt; echo '{{' > spoilt/92-text.ipynb")
    own = {
        "90-broken": (["1", "", "import notthere\nnotthere.go()", "1/0"], "python3"),
        "91-kernel": (["1"], "absent"),
        "93-alone": ([OVER_NO_NETWORK], "python3"),
    }
    for name, (cells, kernel) in own.items():
        course.write(f"~/spoilt/{name}.ipynb", notebook(cells, kernel))
    course.run("touch spoilt/92-text.ipynb")
    began = time.monotonic()
    found = check(course, "--notebooks --folder spoilt", timeout=400)
    took = time.monotonic() - began
    assert set(found) == {*NOTEBOOKS, *own, "92-text"}
    assert wrong(found) == {"90-broken", "91-kernel", "92-text"}, found
    said = {name: finding["said"] for name, finding in found.items()}
    failed = "Cell [2] fails, 'import notthere': ModuleNotFoundError: No module named 'notthere'"
    assert said["90-broken"] == failed
    assert "No cell runs: NoSuchKernel" in said["91-kernel"]
    assert "No cell runs: NotJSONError" in said["92-text"]
    assert not left(course)
    assert course.run("cd spoilt; find . -newer 92-text.ipynb") == "", "they ran in copies"
    record_property(
        "measured",
        f"class-check --notebooks runs {len(found)} notebooks as jobs in {took:.0f} s, on "
        "a machine with two processor cores.",
    )


def test_a_notebook_too_large_or_without_end_is_told(course):
    """One that takes too much memory, and one that does not end."""
    codes = {"greedy": "x = bytearray(2_000_000_000)", "slow": "import time; time.sleep(100)"}
    for name, code in codes.items():
        course.run(f"mkdir -p {name}")
        course.write(f"~/{name}/{name}.ipynb", notebook([code]))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        greedy = pool.submit(check, course, "--notebooks --folder greedy -- --mem=300M")
        slow = pool.submit(check, course, "--notebooks --folder slow --wait 8")
        greedy, slow = greedy.result()["greedy"], slow.result()["slow"]
    assert greedy["good"] is slow["good"] is False
    assert re.search("more memory than its profile|DeadKernelError", greedy["said"])
    assert "It has not ended: its job is running" in slow["said"]
    assert not left(course)


@pytest.mark.claims("Ask for one that ends well after the class: what runs in it ends with it.")
def test_what_runs_in_a_reservation_ends_with_it(reserved):
    me, job = reserved
    # By the accounts, which know it later: the queue forgets a job five minutes after its end.
    look = f"sacct --noheader --allocations --jobs={job} --format=State%20"
    ends = (
        f"for i in $(seq 160); do state=$({look}); [[ $state =~ RUNNING|PENDING ]] || break; "
        "sleep 0.5; done; echo $state"
    )
    assert me.run(ends) == "TIMEOUT\n"
