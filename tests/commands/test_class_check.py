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
import subprocess
import threading
import time

import pytest

from tools.cluster import cluster
from tools.cluster.hub import notebook
from tools.course import editions
from tools.files import ROOT
from tools.proof import stages

FACTS = cluster.facts()
PROFILE = FACTS.course.profile
WHOLE = next(
    profile.name for profile in FACTS.profiles if not profile.kill_gb
)  # one seat on each node
PLACES = {name: getattr(FACTS.paths, name) for name in ("home", "scratch", "apps")}
NOTEBOOKS = [
    name for name in editions.load() if name[:2] in ("01", "05", "08", "09")
]  # each kernel, and one that starts programs
PYTHON = f"{FACTS.paths.jupyter_env}/bin/python"
END = (ROOT / "tests/data/commands/end_class_check.sh").read_text(encoding="utf-8")


def check(triton, user, options="", before="", **more):
    """What class-check finds, as dicts, by what they are about; `all` has those that are about the
    same thing.
    """
    done = triton.run("login", f"{before} class-check --json {options}", user, check=False, **more)
    assert "Traceback" not in done.stderr, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found, done.stderr
    assert done.returncode == any(finding["good"] is False for finding in found)
    assert not [
        finding
        for finding in found
        if finding["good"] is False
        and not finding["remedy"].endswith((".", "=" + finding["about"]))
    ], "each says what to do"
    return {
        finding["about"]: finding
        | {"all": [other for other in found if other["about"] == finding["about"]]}
        for finding in found
    }


def test_it_says_what_it_means_that_all_servers_have_one_name():
    """Where the hub has no wildcard name, a link to another's server is dangerous; elsewhere it is
    silent.
    """
    module = runpy.run_path(str(cluster.ROOT / "triton/bin/class-check"))
    told = [
        [
            finding.said
            for finding in module["names"](dataclasses.replace(FACTS.hosts, servers=servers))
        ]
        for servers in (FACTS.hosts.hub, FACTS.hosts.servers)
    ]
    assert (
        re.search(
            "whoever opens a link to another user's server .*Administrators: give each user a name",
            told[0][0],
        )
        and told[1] == []
    )


def test_outside_of_the_course_no_notebook_is_seen(triton):
    """It says that it has seen no notebook."""
    found = check(triton, triton.account())
    assert (
        found["notebooks"]["good"] is None
        and "--folder DIR names its folder" in found["notebooks"]["said"]
    )


@pytest.mark.claims(
    "Names that others chose steer no terminal when ``class-check`` and ``sjupyter`` print them."
)
def test_names_that_steer_a_terminal_are_written_out(triton):
    """Of a kernel and a notebook of somebody's course: a terminal would follow them, and what
    follows an end of line would pass for a finding.
    """
    user, name = triton.account(), "mine\nok     all\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
    triton.run(
        "login",
        "mkdir course; cat > course/kernel.ipynb",
        user,
        input=json.dumps({"metadata": {"kernelspec": {"name": name}}}),
    )
    triton.run("login", f"touch course/{shlex.quote(name)}.ipynb", user)
    printed = triton.run("login", "class-check --folder course 2>&1", user, check=False).stdout
    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    written = r"mine\nok     all\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
    assert (
        f"kernel {written}: It does not start" in printed
        and f"course/{written}.ipynb is no notebook" in printed
    )


TWO = ["numpy>=2", "tidy"]


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", []),
        (b"-r a/../requirements.txt\n-r b/../requirements.txt\ntidy\n", ["tidy"]),
        ("numpy>=2\r\ntidy\r\n".encode("utf-16"), TWO),
        ("numpy>=2\ntidy".encode("utf-16-le"), TWO),
        (b"\xfe\xff" + "numpy>=2\ntidy".encode("utf-16-be"), TWO),
        (b"\xef\xbb\xbfnumpy>=2\ntidy\n", TWO),
        ("# für alle\nnumpy>=2\ntidy\n".encode("latin-1"), TWO),
        (
            b"numpy>=2 --hash=sha256:0a \\\n  --hash=sha256:0b\n--only-binary :all:\ntidy # why\n",
            TWO,
        ),
        (
            b"https://example.org/a.whl\ngit+https://example.org/b#egg=numpy\n./here\n"
            b"tidy @ https://example.org/t.whl",
            ["numpy", "tidy @ https://example.org/t.whl"],
        ),
        (b"-r more.txt\n-c limits.txt\n--requirement=requirements.txt\nnumpy>=2", TWO),
        (
            b"numpy; extra == 'all'\ntidy; python_version < '3'",
            ["numpy; extra == 'all'", "tidy; python_version < '3'"],
        ),
        (b"-r absent.txt\nnumpy", "absent.txt cannot be read: No such file or directory"),
        (b"-r loop\n", "loop cannot be read: Too many levels of symbolic links"),
        (b"-r ab\0sent.txt\n", "absent.txt cannot be read: No such file or directory"),
        ("folder", "requirements.txt cannot be read: Is a directory"),
        (None, []),
    ],
    ids=[
        "empty",
        "itself by other names",
        "PowerShell",
        "no mark",
        "big endian",
        "Notepad",
        "latin-1",
        "hashes",
        "addresses",
        "other files",
        "markers",
        "absent file",
        "link to itself",
        "null byte",
        "folder",
        "none",
    ],
)
def test_requirements_are_read_whatever_wrote_them(tmp_path, content, expected):
    """In UTF-16 and in every form that pip takes; what cannot be read is told in one sentence."""
    module, file = (
        runpy.run_path(str(cluster.ROOT / "triton/bin/class-check")),
        tmp_path / "requirements.txt",
    )
    (tmp_path / "more.txt").write_text("tidy\n")
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    try:
        assert module["requirements"](file) == expected
    except module["Problem"] as problem:
        assert str(problem) == f"{tmp_path}/{expected}"


@pytest.fixture
def serves(tmp_path, monkeypatch):
    """serves(begin, days) answers with a certificate of so many days; the address.

    SSL_CERT_FILE trusts it.
    """
    with contextlib.ExitStack() as stack:

        def begin(since, days):
            at = ["faketime", since] if since else []
            subprocess.run(
                [
                    *at,
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                    "-nodes",
                    "-days",
                    str(days),
                    "-subj",
                    "/CN=localhost",
                    "-addext",
                    "subjectAltName=DNS:localhost",
                    "-keyout",
                    tmp_path / "key",
                    "-out",
                    tmp_path / "cert",
                ],
                check=True,
                capture_output=True,
            )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
            server = stack.enter_context(
                http.server.ThreadingHTTPServer(
                    ("localhost", 0), http.server.SimpleHTTPRequestHandler
                )
            )
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"localhost:{server.server_port}"

        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        yield begin


@pytest.mark.parametrize(
    ("since", "days", "trusted", "good", "says"),
    [
        ("", 30, True, True, "ends in 29 days, on 20"),
        ("", 10, True, False, "ends in 9 days, on 20"),
        ("", 1, True, False, "ends in 0 days"),
        ("20 days ago", 10, True, False, "not trusted: certificate has expired"),
        ("", 30, False, False, "not trusted: self-signed certificate"),
    ],
)
@pytest.mark.claims(
    "A certificate of the hub that browsers will refuse, now or within two weeks, it "
    "tells everywhere."
)
@pytest.mark.claims("A certificate of the hub that browsers will refuse is told before a class.")
def test_a_certificate_that_browsers_will_refuse_is_told(
    serves, monkeypatch, since, days, trusted, good, says
):
    """So nothing is called well when the certificate of the hub ends before the class, or is not
    trusted.
    """
    address = serves(since, days)
    if not trusted:
        monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    module = runpy.run_path(str(cluster.ROOT / "triton/bin/class-check"))
    found = module["certificates"](dataclasses.replace(FACTS.hosts, hub=address, servers=address))
    assert found.good is good and says in found.said and bool(found.remedy) is not good, found
    assert module["websocket"](address).good is None


@pytest.mark.claims("So is one that lacks the names of users' servers.")
def test_a_certificate_without_a_name_for_servers_is_told(serves):
    """It is good for the hub alone, so nobody would come to a notebook."""
    address = serves("", 30)
    module = runpy.run_path(str(cluster.ROOT / "triton/bin/class-check"))
    other = address.replace("localhost", "127.0.0.1")
    assert module["certificate"](address).good
    found = module["certificates"](dataclasses.replace(FACTS.hosts, hub=address, servers=other))
    assert not found.good and other in found.said, found


def wrong(found):
    return {about for about, finding in found.items() if finding["good"] is False}


def left(triton, user):
    """What is there of earlier runs: jobs, files, the shell that cleans up."""
    look = (
        "squeue --me --noheader --states=pending,running; find .local/share/class-check "
        "$WRKDIR -name '*class-check-*'; pgrep --uid $USER --exact sh"
    )
    return triton.run("login", look, user, check=False).stdout


@pytest.fixture(scope="module")
def course(triton):
    """An account with the student edition."""
    user = triton.account()
    stages.the_course_is_there(triton, user, NOTEBOOKS)
    return user


@pytest.fixture
def reserve(triton):
    """reserve(user, nodes, begin) makes a reservation and returns its name."""
    made = []

    def new(user, nodes, begin="now"):
        made.append(f"class{len(made)}")
        triton.run(
            "ctl",
            f"scontrol create reservation reservationname={made[-1]} users={user} "
            f"starttime={begin} duration=11:00:00 nodes={nodes} flags=ignore_jobs",
        )
        return made[-1]

    yield new
    for name in made:
        triton.run("ctl", f"scontrol delete reservation={name}", check=False)


# ---------------------------------------------------------------- one person


@pytest.mark.claims(
    "The first looks at what one person needs: kernels, packages, room on the disks, "
    "data, Slurm, the clock.",
    "``interactive`` is where ``sjupyter``, ``class-check`` and the hub start their jobs.",
)
def test_who_has_all_that_the_course_needs_is_told_so(triton, course):
    """In plain words."""
    done = triton.run(
        "login",
        f"srun --mem=10G --quiet class-check --folder {editions.FOLDER} --profile "
        f"{shlex.quote(PROFILE.upper())}",
        course,
    )
    assert done.stdout.endswith("All is well.\n") and "WRONG" not in done.stdout
    assert f" could start in {FACTS.partitions.interactive} " in done.stdout
    for about in (
        "kernel python3",
        "packages of python3",
        "kernel bash",
        "kernel ir",
        "home",
        "work",
        "temporary files",
        "data",
        "memory",
        "Slurm",
        "partition",
        "clock",
    ):
        assert re.search(rf"^ok {{3}}  {about}: .*\.$", done.stdout, re.MULTILINE), (
            f"{about}:\n{done.stdout}"
        )


@pytest.mark.claims("What is wrong has a remedy below it.")
def test_whatever_is_not_there_is_told_with_what_to_do(triton, reserve):
    user, stranger = triton.account(), triton.account()
    name = reserve(user, "c1")
    lib = f"{FACTS.paths.home}/{user}/lib"
    triton.run(
        "login",
        f"mkdir -p data {lib}/numpy-1.0.dist-info; touch data/daylight.csv; printf 'Name: "
        f"numpy\\nVersion: 1.0\\n' > {lib}/numpy-1.0.dist-info/METADATA;"
        "printf 'numpy>=2  # arrays\\nnotapackage\\nno package\\n' | iconv -t UTF-16 > "
        "requirements.txt; echo '{' > broken.ipynb",
        user,
    )
    triton.write("login", "~/absent.ipynb", notebook(["1"], "absent"), user)
    triton.write("login", "~/python.ipynb", notebook(["1"]), user)
    found = check(
        triton,
        user,
        f"--partition nowhere --reservation {name}x",
        "export PYTHONPATH=~/lib; srun --mem=1G --quiet",
    )
    assert wrong(found) == {
        "notebooks",
        "kernel absent",
        "packages of python3",
        "data",
        "memory",
        "reservation",
    }, found
    assert all(found[about]["remedy"] for about in wrong(found))
    assert (
        "broken.ipynb" in found["notebooks"]["said"] and "absent" in found["kernel absent"]["said"]
    )
    assert "daylight.csv is empty" in found["data"]["said"]
    assert "1.0 GB" in found["memory"]["said"] and PROFILE in found["memory"]["remedy"]
    said, remedies = (
        " ".join(finding[key] for finding in found["packages of python3"]["all"])
        for key in ("said", "remedy")
    )
    assert (
        f"numpy is 1.0, in {lib}, and the course needs >=2" in said and f"{lib}/numpy*" in remedies
    )
    assert "notapackage is not installed" in said and "'no package', which names no package" in said
    assert (
        "invalid partition specified"
        in check(triton, user, "--room 1 --partition nowhere")["partition"]["said"]
    )
    assert (
        "Access denied to requested reservation"
        in check(triton, stranger, f"--room 1 --reservation {name}")["partition"]["said"]
    )


@pytest.mark.claims(
    "``class-check`` runs nothing that others have put into the folder of a course, and "
    "waits for none of their files."
)
def test_files_of_others_in_the_folder_do_no_harm(triton):
    """What others have put into the folder is neither run nor waited for.

    Files that are called like a module, or that R reads at its start; and a pipe, a device or a
    large file where a notebook or a list should be.
    """
    user, places = triton.account(), ("shared", "pipes", "devices", "large")
    names = (
        "types runpy typing json argparse ssl stat pkgutil queue socket signal site "
        "sitecustomize ipykernel ipykernel_launcher IPython jupyter_client zmq traitlets "
        "packaging"
    )
    triton.run(
        "login",
        f"mkdir {' '.join(places)}; for name in {names}; do echo "
        f'\'open("/home/{user}/ran", "w")\' > shared/$name.py; done; '
        f"echo 'file.create(\"/home/{user}/ran\")' > shared/.Rprofile; echo numpy > "
        "shared/requirements.txt; mkfifo pipes/a.ipynb pipes/requirements.txt "
        "pipes/data; "
        "ln -s /dev/zero devices/a.ipynb; echo '-r /dev/zero' > "
        "devices/requirements.txt; ln -s /dev/zero devices/data; "
        "truncate --size=2M large/requirements.txt; truncate --size=300M large/a.ipynb",
        user,
    )
    triton.write("login", "~/shared/r.ipynb", notebook(["1"], "ir"), user)
    triton.write("login", "~/shared/python.ipynb", notebook(["1"]), user)
    found = check(triton, user, before="cd shared; PYTHONPATH=:$HOME")
    assert (
        found["kernel python3"]["good"]
        and found["kernel ir"]["good"]
        and found["packages of python3"]["good"]
    ), found
    assert triton.run("login", "ls ran", user, check=False).stdout == ""
    told = {place: check(triton, user, f"--folder {place}", "timeout 60") for place in places[1:]}
    assert all(
        found["notebooks"]["said"].endswith("a.ipynb is no notebook that names its kernel.")
        for found in told.values()
    ), told
    assert [told[place]["requirements"]["said"].rpartition("/")[2] for place in places[1:]] == [
        "requirements.txt is no file.",
        "zero is no file.",
        "requirements.txt has more than 1 MB.",
    ]
    assert [told[place]["data"]["said"].endswith("data is no file.") for place in places[1:3]] == [
        True,
        True,
    ]


def test_a_full_home_and_a_silent_slurm_are_told(triton):
    triton.write(
        "login",
        "/tmp/silent.conf",
        "ClusterName=none\nSlurmctldHost=c1(10.44.0.11)\nSlurmctldPort=9\n"
        "MessageTimeout=2\nNodeName=c1\nPartitionName=p Nodes=ALL\n",
    )
    found = check(triton, cluster.FULL_USER, before="cd /tmp; export SLURM_CONF=/tmp/silent.conf;")
    assert wrong(found) == {"home", "Slurm"}
    assert (
        "No space left on device" in found["home"]["said"] and "du -sh" in found["home"]["remedy"]
    )
    assert "controller does not answer" in found["Slurm"]["said"]


def test_a_clock_that_is_off_is_told(triton, course):
    found = check(
        triton,
        course,
        before="export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1) FAKETIME=+100s;",
    )
    assert wrong(found) == {"clock"} and re.search(
        r"is (99|100|101) s ahead of Slurm's", found["clock"]["said"]
    ), found


@pytest.mark.parametrize(
    "options, says",
    [
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
        ("--room 3 -- --test", "sbatch's --test-only is class-check's own"),
    ],
)
def test_wrong_usage_gets_one_sentence(triton, course, options, says):
    done = triton.run("login", f"class-check {options}", course, check=False)
    assert (
        done.returncode == 2
        and re.search(says, done.stderr)
        and "Traceback" not in done.stderr
        and not done.stdout
    )


# ---------------------------------------------------------------- the room


@pytest.mark.claims(
    "The third is a rehearsal. Forty probes, each as large as a server of the profile "
    "*{{ course.profile }}*, keep their places "
    "until all have one. It says whether forty people could start at once, how long the "
    "slowest took,",
    "With ``--reservation``, ``class-check --room`` tries the seats of a reservation,",
)
def test_forty_seats_in_a_reservation_get_a_place_at_once(triton, course, reserve, record_property):
    name, began = reserve(course, "ALL"), time.monotonic()
    found = check(triton, course, f"--room 40 --reservation {name}", timeout=200)
    took = time.monotonic() - began
    assert not wrong(found), found
    numbers = found["room"]["numbers"]
    assert numbers["seats"] == numbers["ready"] == 40 and 0 < numbers["slowest"] < took
    assert (
        sum(found[node]["numbers"]["seats"] for node in triton.nodes) == 40
        and "the slowest was ready after" in found["room"]["said"]
    )
    assert not left(triton, course)
    record_property(
        "measured",
        f"A rehearsal with 40 seats on {len(triton.nodes)} nodes takes {took:.0f} s; the "
        f"slowest seat was ready after {numbers['slowest']:.0f} s.",
    )


def test_too_few_places_are_told_with_how_many_there_are(triton, course, reserve):
    found = check(triton, course, f"--room 14 --wait 20 --reservation {reserve(course, 'c1')}")
    assert wrong(found) == {"room"} and found["room"]["numbers"]["ready"] == 12
    assert (
        "2 wait for a place (Resources)" in found["room"]["said"]
        and "less memory" in found["room"]["remedy"]
    )
    assert not left(triton, course)


@pytest.mark.claims("tries the seats of a reservation, once that has begun.")
def test_a_reservation_that_has_not_begun_is_told_first(triton, course, reserve):
    """Before anything is submitted."""
    found = check(
        triton, course, f"--room 1 --reservation {reserve(course, 'c2', begin='now+1hour')}"
    )
    assert (
        wrong(found) == {"room"}
        and "before the reservation begins" in found["room"]["said"]
        and found["reservation"]["good"]
        and found["partition"]["good"]
    )


# What to do on a node to make it sick, what heals it, and what is said of it.
SICK = {
    "home": (
        f"mount -t tmpfs -o mode=755 empty {PLACES['home']}",
        f"umount {PLACES['home']}",
        f"{PLACES['home']}: it is not mounted there",
    ),
    "scratch": (
        f"mount -t tmpfs -o mode=755 empty {PLACES['scratch']}",
        f"umount {PLACES['scratch']}",
        f"{FACTS.paths.work}: it is not mounted there",
    ),
    "apps": (
        f"mount -t tmpfs -o mode=755 empty {PLACES['apps']}",
        f"umount {PLACES['apps']}",
        f"{PLACES['apps']}: it is not mounted there",
    ),
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
        f"{PLACES['apps']}: {PYTHON} does not work: no library",
    ),
    "slow": (
        "mkdir /tmp/slow; printf '#!/bin/sh\\nsleep 8\\n' > /tmp/slow/python; chmod -R "
        f"755 /tmp/slow; mount --bind /tmp/slow {PYTHON.rpartition('/')[0]}",
        f"umount {PYTHON.rpartition('/')[0]}; rm -r /tmp/slow",
        f"{PLACES['apps']}: it is slow there, [89] s",
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


@contextlib.contextmanager
def made_sick(triton, **nodes):
    """Make nodes sick, each in some ways, and healthy again."""
    with contextlib.ExitStack() as heal:
        for node, ways in nodes.items():
            for way in ways.split():
                make, mend, _ = SICK[way]
                heal.callback(triton.run, node, mend)
                triton.run(node, make)
        yield


@pytest.mark.parametrize(
    "nodes, wait",
    [
        ({"c1": "home", "c2": "tmp scratch", "c3": "clock", "c4": "hangs"}, 20),
        ({"c1": "apps", "c2": "fails", "c3": "slow", "c4": "drained"}, 25),
    ],
    ids=["one", "two"],
)
@pytest.mark.claims("and which node is sick.")
def test_each_sick_node_is_named_with_what_is_wrong_there(triton, course, nodes, wait):
    with made_sick(triton, **nodes):
        found = check(triton, course, f"--room 4 --wait {wait} --profile '{WHOLE}'")
    for node, ways in nodes.items():
        for way in ways.split():
            assert re.search(SICK[way][2], found[node]["said"]), f"{way}: {found[node]}"
            assert found[node]["good"] is (None if way == "drained" else False)
        assert found[node]["said"].count(";") == ways.count(" "), (
            f"nothing else is said: {found[node]}"
        )
    assert (
        "came to a sick node" in found["room"]["said"] and found["room"]["numbers"]["ready"] == 1
    ), "the one where only the clock is wrong, or only slow"
    assert not left(triton, course)


def test_healthy_nodes_are_not_called_sick_beside_a_sick_one(triton, course):
    with made_sick(triton, c2="scratch", c3="broken"):
        found = check(triton, course, f"--room 4 --profile '{WHOLE}'")
    assert re.search(SICK["broken"][2], found["c3"]["said"]), found["c3"]
    assert wrong(found) == {"c2", "c3", "room"} and found["room"]["numbers"]["ready"] == 2


@pytest.mark.claims("However it ends, its jobs end too.")
def test_however_it_is_ended_no_job_and_no_file_of_it_is_left(triton):
    def end(signal, user):
        script = f"set -- {signal}\n{END}"
        ended = triton.run("login", script, user, check=False).stdout.split()[-3:]
        for _ in range(150):  # who was killed outright cannot wait for the end of the jobs
            if not (remains := left(triton, user)):
                break
            time.sleep(0.4)
        return [*ended, remains]

    signals = {"INT": 130, "TERM": 143, "HUP": 129, "KILL": 137}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for (signal, status), said in zip(
            signals.items(),
            pool.map(end, signals, [triton.account() for _ in signals]),
            strict=True,
        ):
            assert said == ["PENDING", "RUNNING", str(status), ""], signal


# ---------------------------------------------------------------- the notebooks


@pytest.fixture(scope="module")
def reserved(triton):
    """A job for hours, in a reservation that ends in two seconds."""
    user = triton.account()
    reservation = (
        "ctl",
        f"scontrol create reservation reservationname=ends users={user} starttime=now "
        "duration=60 nodes=c4 flags=ignore_jobs",
    )
    triton.run(*reservation)
    job = triton.run(
        "login",
        "sbatch --parsable --reservation=ends --time=10:00:00 --output=/dev/null "
        "--wrap='sleep 1000'",
        user,
    ).stdout.strip()
    triton.run(
        "ctl",
        f'for i in $(seq 100); do [ "$(squeue -h -j {job} -o %T)" = RUNNING ] && break; '
        "sleep 0.1; done; "
        "scontrol update reservationname=ends endtime=$(date --date='2 seconds' +%FT%T)",
    )
    yield user, job
    triton.run("login", f"scancel {job}", user, check=False)


OVER_NO_NETWORK = """import json
from ipykernel.connect import get_connection_file
assert json.load(open(get_connection_file()))["transport"] == "ipc\""""


@pytest.mark.claims(
    "The second runs each notebook as a job, all at once, and names the first cell that "
    "would fail in the room. Checks of "
    "exercises may fail: nobody has solved them yet."
)
def test_the_first_cell_that_would_fail_is_named(triton, course, reserved, record_property):
    """Every notebook is run, in a kernel of which nobody else on the node reads the messages."""
    triton.run("login", f"cp -rT {editions.FOLDER} spoilt", course)
    for name, cells, kernel in [
        ("90-broken", ["1", "", "import notthere\nnotthere.go()", "1/0"], "python3"),
        ("91-kernel", ["1"], "absent"),
        ("93-alone", [OVER_NO_NETWORK], "python3"),
    ]:
        triton.write("login", f"~/spoilt/{name}.ipynb", notebook(cells, kernel), course)
    triton.run("login", "echo '{' > spoilt/92-text.ipynb", course)
    began = time.monotonic()
    found = check(triton, course, "--notebooks --folder spoilt", timeout=400)
    took = time.monotonic() - began
    assert set(found) == {*NOTEBOOKS, "90-broken", "91-kernel", "92-text", "93-alone"}
    assert wrong(found) == {"90-broken", "91-kernel", "92-text"}, found
    assert (
        found["90-broken"]["said"]
        == "Cell [2] fails, 'import notthere': ModuleNotFoundError: No module named 'notthere'"
    )
    assert (
        "No cell runs: NoSuchKernel" in found["91-kernel"]["said"]
        and "No cell runs: NotJSONError" in found["92-text"]["said"]
    )
    assert not left(triton, course)
    assert triton.run("login", "cd spoilt; find . -newer 92-text.ipynb", course).stdout == "", (
        "they ran in copies"
    )
    record_property(
        "measured",
        f"class-check --notebooks runs {len(found)} notebooks as jobs in {took:.0f} s, on "
        "a machine with two processor cores.",
    )


def test_a_notebook_too_large_or_without_end_is_told(triton, course):
    """One that takes too much memory, and one that does not end."""
    for name, code in [
        ("greedy", "x = bytearray(2_000_000_000)"),
        ("slow", "import time; time.sleep(100)"),
    ]:
        triton.run("login", f"mkdir -p {name}", course)
        triton.write("login", f"~/{name}/{name}.ipynb", notebook([code]), course)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        greedy = pool.submit(check, triton, course, "--notebooks --folder greedy -- --mem=300M")
        slow = pool.submit(check, triton, course, "--notebooks --folder slow --wait 8")
        greedy, slow = greedy.result()["greedy"], slow.result()["slow"]
    assert greedy["good"] is slow["good"] is False
    assert (
        re.search("more memory than its profile|DeadKernelError", greedy["said"])
        and "It has not ended: its job is running" in slow["said"]
    )
    assert not left(triton, course)


@pytest.mark.claims("Ask for one that ends well after the class: what runs in it ends with it.")
def test_what_runs_in_a_reservation_ends_with_it(triton, reserved):
    user, job = reserved
    # by the accounts, which know it later: the queue forgets a job five minutes after its end
    ends = (
        f"for i in $(seq 160); do state=$(sacct --noheader --allocations --jobs={job} "
        "--format=State%20); [[ $state =~ RUNNING|PENDING ]] || break; sleep 0.5; done; echo "
        "$state"
    )
    assert triton.run("login", ends, user).stdout == "TIMEOUT\n"
