"""The first process of a small Triton: prepares disk and network, starts the hosts, and holds them.

See cluster.py.

It runs in namespaces of its own, so that the mounts, names and networks made here are nowhere else.
"""

import json
import os
import shutil
import signal
import string
import subprocess
import sys
import time
import tomllib
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(
        Path(__file__).resolve().parents[2]
    )  # called by its path, it is found beside what it imports
from tools.cluster import cluster
from tools.cluster.cluster import facts

PEOPLE = range(1000, 60000)  # user and group numbers that Debian gives to people
LAYERS = ("all", "cluster", "reader")
HUB_ENVIRONMENT, HUB_CONFIG = "/opt/jupyterhub", "/etc/jupyterhub"
SIZES = {
    "cgroup": """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2""",
    "polling": """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill""",
}


def run(*command, **options):
    return subprocess.run(list(map(str, command)), check=True, text=True, **options)


def make_disk(state):
    """The one bounded disk of all hosts."""
    disk, image = state / "disk", state / "image"
    disk.mkdir()
    run("truncate", "-s", cluster.IMAGE_SIZE, image)
    run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-F", image)
    run("mount", "-o", "loop", image, disk)
    disk.chmod(0o755)
    return disk


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def accounts(layer):
    """Users and passwords: this machine's system accounts, and the cluster's own people instead of
    its people.
    """
    etc = layer / "etc"

    def of_system(name):
        return [
            line
            for line in Path("/etc", name).read_text().splitlines()
            if int(line.split(":")[2]) not in PEOPLE
        ]

    kept = {"passwd": of_system("passwd")}
    names = {line.split(":")[0] for line in kept["passwd"]}
    kept["shadow"] = [
        line for line in Path("/etc/shadow").read_text().splitlines() if line.split(":")[0] in names
    ]
    groups = [
        line + ",".join(cluster.USERS) if line.startswith("users:") else line
        for line in of_system("group")
    ]
    hashes = run(
        "openssl",
        "passwd",
        "-6",
        "-stdin",
        input="\n".join(map(cluster.password, cluster.USERS)),
        capture_output=True,
    )
    for number, (user, hashed) in enumerate(
        zip(cluster.USERS, hashes.stdout.split(), strict=True), start=10001
    ):
        kept["passwd"].append(f"{user}:x:{number}:{number}:{user}:/home/{user}:/bin/bash")
        kept["shadow"].append(f"{user}:{hashed}:20000:0:99999:7:::")
        groups.append(f"{user}:x:{number}:")
    write(etc / "passwd", "\n".join(kept["passwd"]) + "\n")
    write(etc / "shadow", "\n".join(kept["shadow"]) + "\n", 0o640)
    shutil.chown(etc / "shadow", "root", "shadow")
    write(etc / "group", "\n".join(groups) + "\n")


def homes(folder):
    """A home for each user below `folder`."""
    for number, user in enumerate(cluster.USERS, start=10001):
        home = folder / user
        if not home.exists():
            home.mkdir(parents=True)
        shutil.copytree("/etc/skel", home, dirs_exist_ok=True)
        for path in (home, *home.iterdir()):
            os.chown(path, number, number)
        home.chmod(0o700)


def full_home(disk):
    """Give one user a small disk as home, and fill it until a megabyte is left."""
    home, image = disk / "home" / cluster.FULL_USER, disk / "full-home"
    home.mkdir(parents=True)
    run("truncate", "-s", f"{cluster.FULL_HOME_MB}M", image)
    run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-F", image)
    run("mount", "-o", "loop", image, home)
    shutil.rmtree(home / "lost+found")


def fill(home):
    """Write old results into `home` until a megabyte is left; it must be a small disk of its own."""
    space = os.statvfs(home)
    if not os.path.ismount(home) or space.f_blocks * space.f_frsize > cluster.FULL_HOME_MB * 2**20:
        raise SystemExit(f"{home} is not the small disk that may be filled")
    number = 10001 + cluster.USERS.index(home.name)
    with open(home / "old-results.dat", "wb") as file:
        file.write(bytes(space.f_bavail * space.f_frsize - 2**20))
        os.fchown(file.fileno(), number, number)


def hub(disk, hosts, everywhere):
    """The hub's configuration, installed as an admin would: the folder triton/jupyterhub,
    facts.toml beside it, a certificate.

    The certificate is of the small Triton's own authority, which all hosts and their browsers
    trust.
    """
    config = disk / "hosts/hub/upper" / HUB_CONFIG.lstrip("/")
    shutil.copytree(
        cluster.ROOT / "triton/jupyterhub", config, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("slurm.py", "clusterfacts.py", "strangers.py"):
        shutil.copy(cluster.ROOT / "triton/lib" / name, config)
    profiles = (cluster.HERE / "profiles.toml").read_text(encoding="utf-8")
    write(
        config / "facts.toml",
        (cluster.ROOT / "triton/facts.toml").read_text(encoding="utf-8") + "\n" + profiles,
    )
    (config.parents[1] / HUB_ENVIRONMENT.lstrip("/")).mkdir(parents=True)
    write(
        config.parents[1] / "usr/local/sbin/hub-services",
        (cluster.HERE / "hub-services").read_text(encoding="utf-8"),
        0o755,
    )
    tls = config / "tls"
    tls.mkdir()
    name = next(host.fqdn for host in hosts if host.role == "hub")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
    run(
        "openssl",
        "req",
        "-x509",
        *new_key,
        "-subj",
        f"/CN={facts()['cluster']['name']} test authority",
        "-keyout",
        tls / "ca-key.pem",
        "-out",
        tls / "ca.pem",
        capture_output=True,
    )
    run(
        "openssl",
        "req",
        "-x509",
        *new_key,
        "-subj",
        f"/CN={name}",
        "-addext",
        f"subjectAltName=DNS:{name},DNS:{facts()['hosts']['servers']}",
        "-addext",
        "basicConstraints=CA:FALSE",
        "-CA",
        tls / "ca.pem",
        "-CAkey",
        tls / "ca-key.pem",
        "-keyout",
        tls / "key.pem",
        "-out",
        tls / "cert.pem",
        capture_output=True,
    )
    (tls / "ca-key.pem").unlink()
    authority = (tls / "ca.pem").read_text()
    trusted = Path("/etc/ssl/certs/ca-certificates.crt")
    write(
        everywhere / "etc/ssl/certs/ca-certificates.crt",
        (trusted.read_text() if trusted.exists() else "") + authority,
    )
    body = "".join(authority.splitlines()[1:-1])
    for browser in ("chromium", "opt/chrome"):
        write(
            everywhere / "etc" / browser / "policies/managed/authority.json",
            json.dumps({"CACertificates": [body]}),
        )


def layers(disk, hosts, memory):
    """What hosts have over this machine's files: all of them, those of the cluster, those of
    readers.
    """
    for name in LAYERS:
        (disk / "layers" / name / "etc").mkdir(parents=True)
    everywhere, inside, readers = (disk / "layers" / name for name in LAYERS)
    accounts(everywhere)
    hub(disk, hosts, everywhere)
    known, nodes = facts(), [host for host in hosts if host.role == "node"]
    values = {
        "cluster": known["cluster"]["name"].lower(),
        "node": known["hosts"]["node"].rstrip("0123456789"),
        "nodes": len(nodes),
        "controller": hosts[0].addresses["cluster"],
        "batch": known["partitions"]["batch"],
        "interactive": known["partitions"]["interactive"],
        "apps": known["paths"]["apps"],
        "work": known["paths"]["work"],
        "memory_lines": SIZES[memory],
        "repository": known["site"]["repository"],
    }
    for source in sorted((cluster.HERE / "etc").rglob("*")):
        if source.is_file():
            name = source.relative_to(cluster.HERE)
            layer = everywhere if name.parts[1] in ("pip.conf", "gitconfig", "ssh") else inside
            write(
                layer / name, string.Template(source.read_text(encoding="utf-8")).substitute(values)
            )
    write(everywhere / "etc/resolv.conf", "")
    for folder in ("srv/pypi", "srv/git"):
        (everywhere / folder).mkdir(parents=True)
    for folder in ("apps", "scratch"):
        (inside / known["paths"][folder].lstrip("/")).mkdir(parents=True)
    shutil.copytree(cluster.ROOT / "triton/jupyterhub/nodes", inside / "etc/jupyter")
    (inside / "etc/slurm/slurmdbd.conf").chmod(0o600)
    shutil.chown(inside / "etc/slurm/slurmdbd.conf", "slurm")
    key = inside / "etc/munge/munge.key"
    key.parent.mkdir()
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    shutil.chown(key, "munge", "munge")
    shutil.chown(key.parent, "munge", "munge")
    key.parent.chmod(0o700)
    write(
        inside / "etc/bash.bashrc",
        ". /etc/profile.d/triton.sh\n" + Path("/etc/bash.bashrc").read_text(),
    )
    # On a reader's computer the cluster's programs are not installed: an overlay hides a file
    # behind a device 0:0.
    listed = run("dpkg", "-L", "slurm-client", "lmod", capture_output=True).stdout.split()
    for path in (
        "/etc/profile.d/lmod.sh",
        "/etc/profile.d/lmod.csh",
        *(name for name in listed if "/bin/" in name),
    ):
        if os.path.lexists(path):
            (readers / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            os.mknod(readers / path[1:], 0o600 | 0o020000, 0)


def shared_folders(disk):
    """The homes, the scratch disk, the software, and the parts of PyPI and GitHub that the hosts
    can see.
    """
    known = facts()
    full_home(disk)
    homes(disk / "home")
    fill(disk / "home" / cluster.FULL_USER)
    work = disk / "scratch" / Path(known["paths"]["work"]).relative_to(known["paths"]["scratch"])
    for number, user in enumerate(cluster.USERS, start=10001):
        (work / user).mkdir(parents=True)
        os.chown(work / user, number, number)
    for name in ("apps", "pypi", "git", "hub"):
        (disk / name).mkdir()
    (disk / "apps/modulefiles").mkdir()
    for program in sorted({path.parts[0] for path in environments()}):
        (disk / "apps" / program).mkdir()
        run("mount", "-o", "bind,ro", cluster.APPS / "apps" / program, disk / "apps" / program)
    run("mount", "-o", "bind,ro", cluster.APPS / "wheels", disk / "pypi")
    run("mount", "-o", "bind,ro", cluster.APPS / "hub", disk / "hub")
    values = {
        f"@{key}@": value for table in ("paths", "modules") for key, value in known[table].items()
    }
    for key, module in known["modules"].items():
        text = (cluster.HERE / "modulefiles" / f"{key}.lua").read_text(encoding="utf-8")
        for word, value in values.items():
            text = text.replace(word, value)
        write(disk / "apps/modulefiles" / f"{module if '/' in module else f'{module}/1'}.lua", text)
    for program in tomllib.loads((cluster.HERE / "stand-ins.toml").read_text(encoding="utf-8")):
        write(
            disk / "apps/stand-ins" / program,
            f"#!/bin/sh\necho 'This is the small Triton: it has no {program}, only this "
            "stand-in.' >&2\nexit 1\n",
            0o755,
        )
    guide = disk / "apps/triton"
    for name in ("bin", "lib"):
        shutil.copytree(
            cluster.ROOT / "triton" / name,
            guide / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(cluster.ROOT / "triton/facts.toml", guide)
    if (cluster.ROOT / ".git").exists():
        run(
            "git",
            "-c",
            "safe.directory=*",
            "clone",
            "-q",
            "--bare",
            "--no-hardlinks",
            cluster.ROOT,
            disk / "git/guide.git",
        )


def environments():
    """The two environments of the central software, as paths below it: the one of Jupyter itself,
    and the one that people compute with.
    """
    known = facts()
    return Path(known["paths"]["jupyter_env"]).relative_to(known["paths"]["apps"]), Path(
        known["modules"]["python"]
    )


def network(hosts):
    """A switch for each network, and a cable from each host to its own. There is no way out."""
    Path("/run/netns").mkdir()
    for name in cluster.NETWORKS:
        run("ip", "link", "add", name, "type", "bridge")
        run("ip", "link", "set", name, "up")
    for host in hosts:
        run("ip", "netns", "add", host.name)
        run("ip", "-n", host.name, "link", "set", "lo", "up")
        for index, (name, address) in enumerate(host.addresses.items()):
            here, there = f"{host.name}.{index}", f"eth{index}"
            run(
                "ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", host.name
            )
            run("ip", "link", "set", here, "master", name, "up")
            run("ip", "-n", host.name, "address", "add", f"{address}/24", "dev", there)
            run("ip", "-n", host.name, "link", "set", there, "up")


def boot(host, hosts, state, memory):
    """Start `host` and write the pid of its first process, as seen here, where `on` looks for it."""
    disk = state / "disk"
    own = disk / "hosts" / host.name
    for name in ("upper/etc", "work", "root", "tmp"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "tmp").chmod(0o1777)
    if host.role in ("gateway", "reader"):
        homes(own / "home")
        (own / "home").chmod(0o755)
    write(own / "upper/etc/hosts", cluster.etc_hosts(host, hosts))
    write(own / "upper/etc/hostname", host.fqdn + "\n")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "CLUSTER": facts()["cluster"]["name"].lower(),
        "APPS": facts()["paths"]["apps"],
        "SCRATCH": facts()["paths"]["scratch"],
    }
    if memory == "cgroup" and host.role == "node":
        environment |= {
            "CGROUP": cluster.cgroup_name(state),
            "CONTROLLERS": " ".join(
                name for name in cluster.CGROUPS if (cluster.CGROUP_ROOT / name).is_dir()
            ),
        }
    process = subprocess.Popen(
        [
            "nsenter",
            f"--net=/run/netns/{host.name}",
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            cluster.HERE / "host.sh",
            host.name,
            host.role,
            disk,
        ],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
    )
    while not (first := cluster._children(process.pid)):
        if process.poll() is not None:
            raise SystemExit(f"{host.name} did not start")
        time.sleep(0.005)
    (state / "hosts" / host.name).write_text(f"{first[0]}\n")
    return process


def wait(what, seconds, works):
    for _ in range(int(seconds / 0.05)):
        if works():
            return
        time.sleep(0.05)
    raise SystemExit(f"gave up waiting for {what}")


def start(state, nodes, memory):
    began = time.monotonic()

    def say(what):
        print(f"{time.monotonic() - began:5.1f} s  {what}", flush=True)

    run("mount", "-t", "tmpfs", "run", "/run")
    hosts = cluster.plan(nodes)
    disk = make_disk(state)
    layers(disk, hosts, memory)
    network(hosts)
    say("disk and network")
    (disk / "scratch").mkdir()
    shared_folders(disk)
    say("shared folders")
    first = {host.name: boot(host, hosts, state, memory) for host in hosts}
    say("hosts started")
    for host in hosts:
        ready = Path(f"/proc/{(state / 'hosts' / host.name).read_text().strip()}/root/run/ready")
        wait(
            f"the services of {host.name}",
            60,
            lambda: ready.exists() or first[host.name].poll() is not None,
        )
        if first[host.name].poll() is not None:
            raise SystemExit(f"{host.name} ended while it started")
    say("services answer")
    ask = cluster_command(
        "ctl",
        state,
        "sinfo",
        "--noheader",
        "--states=idle",
        "--Format=Nodes",
        f"--partition={facts()['partitions']['batch']}",
    )
    wait(
        "idle nodes",
        60,
        lambda: subprocess.run(ask, capture_output=True, text=True).stdout.strip() == str(nodes),
    )
    say("all nodes idle")
    (state / "ready").touch()


def cluster_command(host, state, *words):
    """As cluster.command_on, from inside the machine room."""
    pid = (state / "hosts" / host).read_text().strip()
    return ["nsenter", f"--target={pid}", "--all", "--root", "--wd", *words]


def make_apps(folder):
    """Install what the central software and the hub's /opt/jupyterhub have below `folder`, where
    the root folder looks as on a host.
    """
    top = Path("/mnt")
    run("mount", "-t", "tmpfs", "-o", "size=1G", "tmp", top)
    for name in (
        "upper/srv/pypi",
        "upper/srv/hub-wheels",
        f"upper{HUB_ENVIRONMENT}",
        "upper/etc",
        "work",
        "root",
    ):
        (top / name).mkdir(parents=True)
    shutil.copy(cluster.HERE / "etc/pip.conf", top / "upper/etc/pip.conf")
    run(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        "lowerdir=/,upperdir=upper,workdir=work",
        "root",
        cwd=top,
    )
    root = top / "root"
    run("mount", "--rbind", "/dev", root / "dev")
    run("mount", "-t", "proc", "proc", root / "proc")
    run("mount", "-t", "tmpfs", "root", root / "root")
    apps = root / str(facts()["paths"]["apps"]).lstrip("/")
    apps.mkdir(parents=True, exist_ok=True)
    hub = root / HUB_ENVIRONMENT.lstrip("/")
    for source, target in (
        ("apps", apps),
        ("wheels", root / "srv/pypi"),
        ("hub", hub),
        ("hub-wheels", root / "srv/hub-wheels"),
    ):
        if (folder / source).exists():
            run("mount", "--bind", folder / source, target)
    uv = root / "usr/local/bin/uv"
    uv.touch()
    run("mount", "--bind", cluster.ROOT / ".venv/bin/uv", uv)
    central, compute = (f"{facts()['paths']['apps']}/{path}" for path in environments())
    wanted = [
        (central, "/srv/pypi", []),
        (compute, "/srv/pypi", ["ipykernel", "numpy", "matplotlib", "psutil"]),
    ]
    if (
        folder / "hub-wheels"
    ).exists():  # the hub's does not depend on the facts: who makes the others anew may keep it
        wanted.append((HUB_ENVIRONMENT, "/srv/hub-wheels", []))
    for target, wheels, packages in wanted:
        packages = packages or [
            wheel.name.split("-")[0] for wheel in (root / wheels.lstrip("/")).glob("*.whl")
        ]
        for command in (
            ["/usr/bin/python3", "-m", "venv", "--without-pip", target],
            [
                "uv",
                "pip",
                "install",
                "--quiet",
                "--offline",
                "--no-index",
                f"--find-links={wheels}",
                "--no-cache",
                "--compile-bytecode",
                "--link-mode=copy",
                f"--python={target}/bin/python",
                *packages,
            ],
        ):
            run(
                "chroot",
                root,
                "env",
                "-i",
                "PATH=/usr/local/bin:/usr/bin:/bin",
                "HOME=/root",
                "LANG=C.UTF-8",
                *command,
            )
    extension = cluster.ROOT / "triton/jupyterhub/labextension"
    name = json.loads((extension / "package.json").read_text(encoding="utf-8"))["name"]
    shutil.copytree(extension, root / central.lstrip("/") / "share/jupyter/labextensions" / name)
    run(
        "chroot",
        root,
        f"{central}/bin/python",
        "-m",
        "bash_kernel.install",
        "--sys-prefix",
        stdout=subprocess.DEVNULL,
    )
    kernel = root / str(facts()["paths"]["r_kernel"]).lstrip("/")
    kernel.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree("/usr/share/jupyter/kernels/ir", kernel.parent, dirs_exist_ok=True)


if __name__ == "__main__":
    if sys.argv[1] == "--apps":
        make_apps(Path(sys.argv[2]))
    else:
        start(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                signal.pause()
