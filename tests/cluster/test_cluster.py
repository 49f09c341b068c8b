"""The small cluster is a real cluster, and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.cluster import cluster

CLUSTER = Path(cluster.__file__)


def traces(state):
    """The traces that the cluster in `state` could leave on this machine, where other tests have
    clusters too.
    """
    mine = (str(state.parent), cluster.cgroup_name(state))
    listed = [
        *map(str, state.parent.iterdir()),
        *Path("/proc/mounts").read_text().splitlines(),
        *map(str, cluster.CGROUP_ROOT.glob("*/small-triton-*")),
    ]
    return (
        sorted(line for line in listed if any(name in line for name in mine)),
        Path("/etc/hosts").read_text(),
        Path("/etc/passwd").read_text(),
        sorted(os.listdir("/")),
        sorted(os.listdir("/run")),
        sorted(os.listdir("/sys/class/net")),
    )


@pytest.fixture
def own(tmp_path):
    """The folder for a cluster of the test's own, with a space in its path."""
    if why := cluster.obstacle():
        pytest.skip(why)
    state = tmp_path / "a cluster"
    yield state
    cluster.down(state)


@pytest.mark.claims(
    "login - {{ hosts.login }}: ssh, Slurm, the modules",
    "ctl - Slurm's controller and its accounts",
    "{{ hosts.node }} and three more - compute nodes, NAME.{{ hosts.domain }}",
    "gateway - {{ hosts.gateway }}, for people outside",
)
@pytest.mark.claims(
    "hub - {{ hosts.hub }}: JupyterHub. A user's server is at NAME.{{ hosts.hub }}. "
    "Compute nodes reach it as {{ hosts.inside }}",
    "Nodes are called like ``node``, with other numbers.",
)
def test_every_host_has_the_name_that_the_facts_give_it(triton):
    """Each host has one name, and it is that of the facts."""
    names = cluster.facts().hosts
    expected = {
        "login": names.login,
        "hub": names.hub,
        "gateway": names.gateway,
        "c4": f"c4.{names.domain}",
        "laptop": "laptop",
    }
    assert {host: triton.run(host, "hostname").stdout.strip() for host in expected} == expected
    assert sorted(triton.nodes) == ["c1", "c2", "c3", "c4"] and {
        triton.run(node, "hostname --domain").stdout.strip() for node in triton.nodes
    } == {names.domain}
    addresses = [
        triton.run(host, f"getent hosts {name}").stdout.split()[0]
        for host, name in (
            ("c1", names.inside),
            ("laptop", names.hub),
            ("laptop", f"alice.{names.hub}"),
        )
    ]
    assert set(addresses) <= set(triton.run("hub", "hostname --all-ip-addresses").stdout.split())
    assert triton.run(
        "ctl", "pgrep --exact --count slurmctld; pgrep --exact --count slurmdbd"
    ).stdout.split() == ["1", "1"]
    assert triton.run(
        "login", "pgrep --exact sshd > /dev/null; sinfo > /dev/null; module avail 2>&1", "alice"
    ).stdout


@pytest.mark.claims(
    "Compute nodes have names inside the cluster only. The hub, and the servers whose "
    "names end in its own, answer inside "
    "the university only."
)
@pytest.mark.parametrize(
    ("host", "reached", "not_reached"),
    [
        ("laptop", ["login", "gateway"], ["node"]),
        ("outside", ["gateway"], ["login", "hub", "node"]),
        ("login", ["node"], []),
    ],
)
@pytest.mark.claims(
    "laptop - a reader's computer inside the networks",
    "outside - one in another network{{ if hosts.gateway }}, that reaches the gateway "
    "and nothing else{{ end }}",
)
def test_hosts_reach_whom_they_should(triton, host, reached, not_reached):
    facts = cluster.facts().hosts
    names = vars(facts) | {"node": f"{facts.node}.{facts.domain}"}
    port = {"node": 6818}
    for role in reached + not_reached:
        completed = triton.run(
            host,
            f"curl --silent --max-time 3 telnet://{names[role]}:{port.get(role, 22)}",
            check=False,
        )
        connected = completed.returncode == 28  # a program listens there, and waits for more input
        assert connected == (role in reached), (
            f"{host} to {names[role]}: curl ended with {completed.returncode}"
        )


@pytest.mark.claims("Other users of your computer get into none of its folders.")
def test_no_other_user_of_this_machine_gets_into_its_folders(triton, tmp_path, monkeypatch):
    """Programs in it run with the rights of who made it, and everybody may write into its /tmp."""
    assert {folder.stat().st_mode & 0o777 for folder in (cluster.APPS, triton.state)} == {0o700}
    os.chown(tmp_path, 1, 1)
    with pytest.raises(cluster.ClusterError, match="belongs to another user"):
        cluster.close(tmp_path)
    monkeypatch.setenv("TRITON_DIR", str(tmp_path))
    with pytest.raises(cluster.ClusterError, match="belongs to another user"):
        cluster.close(tmp_path / "own")


@pytest.mark.claims("It has no internet.")
def test_no_host_has_a_way_to_this_machines_network(triton):
    for host in ("laptop", "login", "c1", "outside", "gateway"):
        routes = triton.run(host, "ip route").stdout.splitlines()
        assert routes and all(route.startswith("10.4") for route in routes)


@pytest.mark.claims(
    "{{ cluster.name }} is many computers, the nodes, that many people share.",
)
def test_jobs_run_on_all_nodes_and_are_accounted(triton):
    user = triton.account()
    printed = triton.run("login", f"srun --nodes={len(triton.nodes)} hostname", user).stdout.split()
    assert sorted(name.split(".")[0] for name in printed) == sorted(triton.nodes)
    for _ in range(100):
        listed = triton.run(
            "login", "sacct --noheader --parsable2 --allocations --format=State,JobName", user
        ).stdout
        if "COMPLETED|hostname" in listed:
            return
        time.sleep(0.2)
    pytest.fail(f"sacct does not know the job: {listed!r}")


@pytest.mark.claims(
    "``OUT_OF_MEMORY`` is clear. ``FAILED`` with a ``MaxRSS`` near the limit means the same.",
    "Slurm remembers it too:",
)
@pytest.mark.claims(
    "Memory limits are kept by cgroup version 1 where your computer has it, and "
    "otherwise by Slurm, which looks each second.",
    "Some clusters measure memory and kill by themselves; there a job that took too much "
    "is ``FAILED``, and only its output tells.",
)
@pytest.mark.parametrize("mode", ["cgroup", "polling"])
def test_a_job_that_takes_more_memory_than_asked_for_is_killed(own, mode):
    if mode == "cgroup" and not cluster.cgroups_usable():
        pytest.skip("no cgroup v1 memory controller here")
    from tools.cluster.small_triton import Triton

    cluster.up(nodes=1, memory=mode, state=own, tied=True, say=print)
    triton = Triton(own)
    assert triton.memory == mode
    script = (
        "#!/bin/bash\n#SBATCH --mem=50M\n#SBATCH --output=out\npython3 -c 'import time; x = "
        "bytearray(300_000_000); time.sleep(60)'\n"
    )
    triton.write("login", "~/greedy.sh", script, "alice")
    began = time.monotonic()
    assert triton.run("login", "sbatch --wait greedy.sh", "alice", check=False).returncode
    assert time.monotonic() - began < 40
    output = triton.run(
        "login",
        "scontrol show config; grep -h Plugin /etc/slurm/cgroup.conf; sleep 1; sacct "
        "--noheader --allocations --format=State",
        "alice",
    ).stdout
    said = output.replace(" ", "")
    assert "CgroupPlugin=cgroup/v1\n" in said or mode == "polling"
    assert ("JobAcctGatherFrequency=task=1\n" in said) == (mode == "polling")
    assert mode == "cgroup" or output.split()[-1] == "FAILED", output
    text = triton.run("login", "cat out", "alice").stdout
    assert (
        ("oom-kill" in text) if mode == "cgroup" else ("exceeded memory limit" in text.lower())
    ), text
    ask = (
        "sacct --noheader --parsable2 --units=M --format=State,MaxRSS | awk "
        "--field-separator='|' '{print $1} $2 {print $2}'"
    )
    for _ in range(100):
        state, *more = triton.run("login", ask, "alice").stdout.split() or [""]
        if more and state != "RUNNING":
            break
        time.sleep(0.2)
    assert state == ("OUT_OF_MEMORY" if mode == "cgroup" else "FAILED"), (
        "triton/apps/jupyter/hub.rst"
    )
    assert mode == "cgroup" or float(more[-1].rstrip("M")) > 45, more


@pytest.mark.claims(
    "``QOSMaxJobsPerUserLimit`` and the like - you have as many jobs as you may; the rest follows"
)
def test_a_user_at_the_limit_of_jobs_has_to_wait(own):
    """The next job waits, and starts when another one has ended."""
    from tools.cluster.small_triton import Triton

    cluster.up(nodes=1, state=own, tied=True, say=print)
    triton = Triton(own)
    limit = "sacctmgr --immediate --quiet {}; ".format
    enforce = (
        "echo AccountingStorageEnforce=limits,qos >> /etc/slurm/slurm.conf; pid=$(cat "
        "/run/slurmctld.pid); kill $pid; "
    )
    again = (
        "for i in $(seq 200); do kill -0 $pid 2> /dev/null || break; sleep 0.1; done; "
        "slurmctld > /dev/null 2>&1"
    )
    triton.run(
        "ctl",
        limit("add account all")
        + limit("add user alice account=all")
        + limit("modify qos normal set MaxJobsPerUser=1")
        + enforce
        + again,
    )
    triton.run(
        "login",
        "for i in $(seq 100); do sinfo --noheader | grep -q idle && exit; sleep 0.2; done; exit 1",
    )
    jobs = triton.run(
        "login",
        "for name in first second; do sbatch --parsable --mem=50M --output=/dev/null "
        "--wrap 'sleep 5'; done",
        "alice",
    ).stdout.split()
    reason = (
        "for i in $(seq 100); do squeue --me --noheader --states=PENDING --Format=Reason:60 "
        "| grep -x 'QOSMaxJobsPerUserLimit *' && exit; sleep 0.1; done; exit 1"
    )
    triton.run("login", reason, "alice")
    both_completed = (
        "for i in $(seq 300); do sacct --noheader --parsable2 --allocations "
        f"--jobs={','.join(jobs)} --format=State | sort | uniq -c | grep '2 COMPLETED' && "
        "exit; sleep 0.2; done; exit 1"
    )
    triton.run("login", both_completed, "alice")


@pytest.mark.claims("and programs say ``No space left on device``")
@pytest.mark.claims("A full home says that no space is left,")
def test_the_nearly_full_home_is_full_for_its_owner_only(triton):
    completed = triton.run(
        "login",
        "head -c 3M /dev/zero > more; status=$?; rm -f more; exit $status",
        cluster.FULL_USER,
        check=False,
    )
    assert completed.returncode and "No space left on device" in completed.stderr
    triton.run("login", "head -c 3M /dev/zero > more; status=$?; rm more; exit $status", "alice")


def test_only_root_changes_what_the_cluster_has_for_everyone(triton):
    """This is root of this machine. For root of the cluster, the shared files are read-only."""
    apps = cluster.facts().paths.apps
    assert (
        triton.run(
            "login", f"touch {apps}/x {cluster.facts().paths.jupyter_env}/x", check=False
        ).stderr.count("Read-only file system")
        == 2
    )


@pytest.mark.claims(
    "your network, your ``/etc`` and your users stay as they are.",
    "ends every process and removes every file. Nothing is kept from one time to the next.",
)
def test_going_down_leaves_nothing(own):
    before = traces(own)
    cluster.up(nodes=1, state=own, say=print)
    assert cluster._family(cluster.machine_room(own))[10:]
    up = traces(own)
    assert len(up[0]) > len(before[0]) and (up[1], up[2], up[5]) == (
        before[1],
        before[2],
        before[5],
    ), "hosts, users or network of this machine have changed"
    family = cluster._family(cluster.machine_room(own))
    cluster.down(own)
    assert not own.exists()
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists() and cluster._start_time(pid)]
    assert traces(own) == before


def test_after_a_crash_it_goes_down_and_comes_up_again(own):
    cluster.up(nodes=1, state=own, say=print)
    os.kill(cluster.machine_room(own), signal.SIGKILL)
    for _ in range(100):  # it ends a moment later
        if cluster.machine_room(own) is None:
            break
        time.sleep(0.1)
    cluster.up(nodes=1, state=own, say=print)
    command = [sys.executable, CLUSTER, "up"]
    again = subprocess.run(
        command, env=os.environ | {"SMALL_TRITON": str(own)}, capture_output=True, text=True
    )
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"A cluster is running already in {own}: make cluster-down ends it\n"


def test_a_cluster_of_a_test_ends_with_the_test(own):
    """The cluster ends however the test ends."""
    script = (
        f"import sys, time; sys.path.insert(0, {str(cluster.ROOT)!r}); import pathlib; from "
        f"tools.cluster import cluster; cluster.up(1, state=pathlib.Path({str(own)!r}), "
        "tied=True); time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert "idle" in process.stdout.readline()
    family = cluster._family(cluster.machine_room(own))
    process.kill()
    process.wait()
    process.stdout.close()
    for _ in range(200):
        if not any(cluster._start_time(pid) for pid in family):
            return
        time.sleep(0.02)
    pytest.fail("its processes are still there")


def test_cgroups_of_a_killed_cluster_are_removed_by_the_next(own):
    if not cluster.cgroups_usable():
        pytest.skip("no cgroup v1 memory controller here")
    old, young, used = (
        cluster.CGROUP_ROOT / "memory" / f"{cluster.cgroup_name(own)}-{kind}"
        for kind in ("old", "young", "used")
    )
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        for group in (old, young, used):
            (group / "c1").mkdir(parents=True)
        (used / "c1/tasks").write_text(str(sleeper.pid))
        for group in (old, used):
            os.utime(group, (time.time() - 100,) * 2)
        cluster._sweep_cgroups()
        assert [group.exists() for group in (old, young, used)] == [False, True, True]
    finally:
        sleeper.kill()
        sleeper.wait()
        for group in (old, young, used):
            cluster._remove_cgroup(group)


@pytest.mark.claims(
    "is a shell of the user alice on the login node. Put a command behind it, and only "
    "that is run; leave out the user, and you "
    "are root:",
    "MATLAB is a stand-in that says so.",
    "Julia is a stand-in that says so.",
    "The GPUs of the node gpu1 are empty devices. Slurm hands them out, and nothing can compute on "
    "them.",
)
@pytest.mark.claims("What it needs of PyPI and of this repository lies on it.")
def test_on_runs_a_command_as_the_user_or_root(triton):
    """A stand-in for a program says that it is one."""
    modules = cluster.facts().modules
    outputs = {}
    for who, command in (
        ("login:alice", "whoami; hostname"),
        ("login", "whoami"),
        *(
            ("login:alice", f"module load {getattr(modules, name)}; {name} 2>&1; true")
            for name in ("matlab", "julia")
        ),
    ):
        completed = subprocess.run(
            [CLUSTER.parent / "on", who, command],
            env=os.environ | {"SMALL_TRITON": str(triton.state)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs[command] = completed.stdout
    assert list(outputs.values())[:2] == [f"alice\n{cluster.facts().hosts.login}\n", "root\n"]
    assert all("only this stand-in" in text for text in list(outputs.values())[2:]), outputs
    devices = triton.run(cluster.GPU_NODE, "stat --format='%F %t %T' /dev/nvidia*").stdout
    assert set(devices.splitlines()) == {"character special file 1 3"}
    triton.run(
        "login",
        f"git ls-remote --quiet {cluster.facts().site.repository}; cd $WRKDIR; "
        "python3 -m pip download --quiet --no-deps fqdn; rm fqdn*",
        "alice",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["nowhere", "true"],
            "There is no host 'nowhere'; there are: c1, c2, c3, c4, ctl, gateway, gpu1, hub, "
            "laptop, login, outside",
        ),
    ],
)
def test_on_says_which_hosts_there_are(triton, words, message):
    completed = subprocess.run(
        [CLUSTER.parent / "on", *words],
        env=os.environ | {"SMALL_TRITON": str(triton.state)},
        capture_output=True,
        text=True,
    )
    assert (completed.returncode, completed.stderr) == (1, message + "\n")


def test_on_without_a_cluster_says_how_to_start_one(tmp_path):
    completed = subprocess.run(
        [CLUSTER.parent / "on", "login", "true"],
        env=os.environ | {"SMALL_TRITON": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (completed.returncode, completed.stderr) == (
        1,
        "No cluster is running: make cluster starts one\n",
    )
