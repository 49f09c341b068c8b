"""The first process of a small Triton: it makes disk and network, starts the hosts, and waits.

It runs in namespaces of its own, so its mounts, names and networks exist only there (cluster.py).
"""

import json
import os
import re
import shlex
import shutil
import signal
import ssl
import stat
import string
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Python has put the folder of this file there.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools.cluster import cluster
from tools.cluster.cluster import Host, Memory, facts

HOST_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAYERS = ("all", "cluster", "reader")
HUB_ENVIRONMENT = "/opt/jupyterhub"
HUB_CONFIG = "/etc/jupyterhub"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
COMPUTE_PACKAGES = ("ipykernel", "numpy", "pandas", "matplotlib", "psutil")
# Users can install these, as pages say; Jupyter's environment lacks them.
USERS_PACKAGES = {
    *("marimo", "jupyter_server_proxy", "mpi4py", "mpich"),
    *("octave_kernel", "metakernel", "xllamacpp", "gguf"),
}
SIZES: dict[Memory, str] = {
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
JobAcctGatherParams=OverMemoryKill,UsePss""",
}


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The finished process of `command`. Raises CalledProcessError if it fails.

    options: of subprocess.run.
    """
    return subprocess.run(list(map(str, command)), check=True, text=True, **options)


def in_image(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """As run(), in the root folder of the hosts, where the cluster's folder is /mnt."""
    return run("chroot", cluster.IMAGE, "env", "-i", HOST_PATH, "LANG=C.UTF-8", *command, **options)


def make_disk(state: Path) -> Path:
    """Make the folder that is the one disk of all hosts; return it."""
    disk = state / "disk"
    (disk / "image").mkdir(parents=True)
    disk.chmod(0o755)
    run("mount", "--bind", cluster.IMAGE, disk / "image")
    run("mount", "--bind", cluster.IMAGE, cluster.IMAGE)  # ip wants its root to be a mount
    for name in ("dev", "proc", "sys"):
        run("mount", "--rbind", f"/{name}", cluster.IMAGE / name)
    run("mount", "-t", "tmpfs", "run", cluster.IMAGE / "run")
    run("mount", "--bind", disk, cluster.IMAGE / "mnt")
    return disk


def seen_in_image(path: Path) -> Path:
    """The path of a file on the disk of all hosts, as in_image() needs it."""
    return Path("/mnt") / path.relative_to(next(up for up in path.parents if up.name == "disk"))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, and the folders above it that are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def accounts(layer: Path) -> None:
    """Write users, groups and passwords: the system's accounts and the cluster's users."""
    etc = layer / "etc"
    kept = {
        name: (cluster.IMAGE / "etc" / name).read_text().splitlines()
        for name in ("passwd", "shadow")
    }
    groups = [
        line + ",".join(cluster.USERS) if line.startswith("users:") else line
        for line in (cluster.IMAGE / "etc/group").read_text().splitlines()
    ]
    hashes = in_image(
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
    os.chown(etc / "shadow", 0, number_of("shadow", "group"))
    write(etc / "group", "\n".join(groups) + "\n")


def number_of(name: str, kind: str = "passwd") -> int:
    """The number of a user, or of a group, that the image has."""
    lines = (cluster.IMAGE / "etc" / kind).read_text().splitlines()
    return next(int(line.split(":")[2]) for line in lines if line.startswith(f"{name}:"))


def homes(folder: Path) -> None:
    """Make a home for each user below `folder`."""
    for number, user in enumerate(cluster.USERS, start=10001):
        home = folder / user
        if not home.exists():
            home.mkdir(parents=True)
        shutil.copytree(cluster.IMAGE / "etc/skel", home, dirs_exist_ok=True)
        for path in (home, *home.iterdir()):
            os.chown(path, number, number)
        home.chmod(0o700)


def full_home(disk: Path) -> None:
    """Make the home of one user a small disk of its own."""
    home = disk / "home" / cluster.FULL_USER
    home.mkdir(parents=True)
    size = f"size={cluster.FULL_HOME_MB}M,nr_inodes=4096"
    run("mount", "-t", "tmpfs", "-o", size, "full-home", home)


def fill(home: Path) -> None:
    """Fill `home` with a file of old results until a megabyte is left.

    Raises SystemExit if `home` is not a small disk of its own.
    """
    space = os.statvfs(home)
    if not os.path.ismount(home) or space.f_blocks * space.f_frsize > cluster.FULL_HOME_MB * 2**20:
        raise SystemExit(f"{home} is not the small disk that may be filled")
    number = 10001 + cluster.USERS.index(home.name)
    with open(home / "old-results.dat", "wb") as file:
        file.write(bytes(space.f_bavail * space.f_frsize - 2**20))
        os.fchown(file.fileno(), number, number)


def hub(disk: Path, hosts: Iterable[Host], everywhere: Path) -> None:
    """Install the hub's configuration as an admin would: the folder triton/jupyterhub, modules of
    triton/lib and facts.toml beside it, and a certificate.
    """
    config = disk / "hosts/hub/upper" / HUB_CONFIG.lstrip("/")
    shutil.copytree(
        cluster.ROOT / "triton/jupyterhub", config, ignore=shutil.ignore_patterns("__pycache__")
    )
    for module in (cluster.ROOT / "triton/lib").glob("*.py"):
        shutil.copy(module, config)
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
    name = next(host.fqdn for host in hosts if host.role == "hub")
    trust(certificate(config / "tls", name), everywhere)


def certificate(folder: Path, name: str) -> str:
    """Write a key and a certificate for the host `name` and for the servers into `folder`.

    Returns the certificate of the small Triton's own authority, which has signed it.
    """
    folder.mkdir()
    request = ("env", "-C", seen_in_image(folder), "openssl", "req", "-x509", *NEW_KEY)
    authority = ("-CA", "ca.pem", "-CAkey", "ca-key.pem")
    in_image(
        *request,
        *("-subj", f"/CN={facts().cluster.name} test authority"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # which Python asks for since 3.13
        *("-keyout", "ca-key.pem", "-out", "ca.pem"),
        capture_output=True,
    )
    in_image(
        *request,
        *("-subj", f"/CN={name}"),
        *("-addext", f"subjectAltName=DNS:{name},DNS:{facts().hosts.servers}"),
        *("-addext", "basicConstraints=CA:FALSE"),
        *authority,
        *("-keyout", "key.pem", "-out", "cert.pem"),
        capture_output=True,
    )
    (folder / "ca-key.pem").unlink()
    return (folder / "ca.pem").read_text()


def trust(authority: str, everywhere: Path) -> None:
    """Make all hosts, and the browsers on them, trust the certificates of `authority`.

    They meet no others. With those of this machine, which curl and Python read anew for each
    connection, it would take 25 ms more of processor time.
    """
    write(everywhere / "etc/ssl/certs/ca-certificates.crt", authority)
    body = "".join(authority.splitlines()[1:-1])
    for browser in ("chromium", "opt/chrome"):
        write(
            everywhere / "etc" / browser / "policies/managed/authority.json",
            json.dumps({"CACertificates": [body]}),
        )
    # host.sh makes it that of root, who runs the browsers.
    folder = everywhere / "etc/pki/nssdb"
    folder.mkdir(parents=True)
    database = f"sql:{seen_in_image(folder)}"
    in_image("certutil", "-N", "-d", database, "--empty-password")
    trusts = ("-A", "-n", "authority", "-t", "C,,")
    in_image("certutil", *trusts, "-d", database, input=authority)


def layers(disk: Path, hosts: Sequence[Host], nodes: int, memory: Memory) -> None:
    """Make the layers over this machine's files: for all hosts, for the cluster, for readers."""
    for name in LAYERS:
        (disk / "layers" / name / "etc").mkdir(parents=True)
    everywhere, inside, readers = (disk / "layers" / name for name in LAYERS)
    accounts(everywhere)
    hub(disk, hosts, everywhere)
    configuration(everywhere, inside, hosts, nodes, memory)
    write(everywhere / "etc/resolv.conf", "")
    for folder in ("srv/pypi", "srv/git"):
        (everywhere / folder).mkdir(parents=True)
    for folder in (facts().paths.apps, facts().paths.scratch):
        (inside / folder.lstrip("/")).mkdir(parents=True)
    shutil.copytree(cluster.ROOT / "triton/jupyterhub/nodes", inside / "etc", dirs_exist_ok=True)
    (inside / "etc/slurm/slurmdbd.conf").chmod(0o600)
    os.chown(inside / "etc/slurm/slurmdbd.conf", number_of("slurm"), -1)
    munge_key(inside / "etc/munge/munge.key")
    write(
        inside / "etc/bash.bashrc",
        ". /etc/profile.d/triton.sh\n" + (cluster.IMAGE / "etc/bash.bashrc").read_text(),
    )
    hide_programs(readers)


def configuration(
    everywhere: Path, inside: Path, hosts: Sequence[Host], nodes: int, memory: Memory
) -> None:
    """Write the files of tools/cluster/etc, with the facts filled in, into their layers."""
    known = facts()
    values = {
        "cluster": known.cluster.name.lower(),
        "node": known.hosts.node.rstrip("0123456789"),
        "nodes": nodes,
        "controller": hosts[0].addresses["cluster"],
        "batch": known.partitions.batch,
        "interactive": known.partitions.interactive,
        "apps": known.paths.apps,
        "work": known.paths.work,
        "memory_lines": SIZES[memory],
        "cgroup_plugin": "cgroup/v1" if memory == "cgroup" or not may_be_disabled() else "disabled",
        "gpu_lines": gpu_lines(),
        "gres_lines": "\n".join(
            f"NodeName={cluster.GPU_NODE} Name=gpu Type={kind} Flags=nvidia_gpu_env "
            f"File=/dev/nvidia[{2 * number}-{2 * number + 1}]"
            for number, kind in enumerate(cluster.gpu_types())
        ),
        "repository": known.site.repository,
    }
    for source in sorted((cluster.HERE / "etc").rglob("*")):
        if source.is_file():
            name = source.relative_to(cluster.HERE)
            layer = (
                everywhere if name.parts[1] in ("pip.conf", "uv", "gitconfig", "ssh") else inside
            )
            template = string.Template(source.read_text(encoding="utf-8"))
            mode = 0o755 if os.access(source, os.X_OK) else 0o644
            write(layer / name, template.substitute(values), mode)


def may_be_disabled() -> bool:
    """Whether this Slurm knows no cgroups as a choice, and needs it where there are none."""
    version = in_image("slurmd", "-V", capture_output=True).stdout
    return tuple(map(int, re.findall(r"\d+", version)[:2])) >= (23, 11)


def gpu_lines() -> str:
    """The lines of slurm.conf about the node with GPUs, two of each type; "" without GPUs."""
    types = cluster.gpu_types()
    if not types:
        return ""
    gres = ",".join(f"gpu:{name}:2" for name in types)
    nodes = f"Nodes={cluster.GPU_NODE}"
    partitions = sorted({gpu.partition for gpu in facts().gpus} - {facts().partitions.gpu})
    return "\n".join(
        [
            "GresTypes=gpu",
            "AccountingStorageTRES=gres/gpu",
            f"NodeName={cluster.GPU_NODE} CPUs=32 RealMemory=128000 State=UNKNOWN Gres={gres}",
            f"PartitionName={facts().partitions.gpu} {nodes} MaxTime=30 DefaultTime=15",
            *(f"PartitionName={name} {nodes} MaxTime=5-0 DefaultTime=60" for name in partitions),
        ]
    )


def munge_key(key: Path) -> None:
    """Write a new key for munge, by which the hosts of the cluster trust each other."""
    key.parent.mkdir()
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (key, key.parent):
        os.chown(path, number_of("munge"), number_of("munge", "group"))
    key.parent.chmod(0o700)


def hide_programs(readers: Path) -> None:
    """Hide the cluster's programs on readers' computers, which would not have them.

    In an overlay, a device 0:0 hides the file below it.
    """
    listed = in_image("dpkg", "-L", "slurm-client", "lmod", capture_output=True).stdout.split()
    for path in (
        "/etc/profile.d/lmod.sh",
        "/etc/profile.d/lmod.csh",
        *(name for name in listed if "/bin/" in name),
    ):
        if os.path.lexists(cluster.IMAGE / path[1:]):
            (readers / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            os.mknod(readers / path[1:], 0o600 | stat.S_IFCHR, 0)


def shared_folders(disk: Path) -> None:
    """Make the homes, the scratch disk, the software, and the hosts' PyPI and GitHub."""
    known = facts()
    full_home(disk)
    homes(disk / "home")
    fill(disk / "home" / cluster.FULL_USER)
    work = disk / "scratch" / Path(known.paths.work).relative_to(known.paths.scratch)
    for number, user in enumerate(cluster.USERS, start=10001):
        (work / user).mkdir(parents=True)
        os.chown(work / user, number, number)
    for name in ("apps", "pypi", "git", "hub"):
        (disk / name).mkdir()
    software(disk)
    if (cluster.ROOT / ".git").exists():
        run(
            *("git", "-c", "safe.directory=*"),
            *("clone", "-q", "--bare", "--no-hardlinks", cluster.ROOT, disk / "git/guide.git"),
        )


def software(disk: Path) -> None:
    """Install the central software, its modules and the guide's commands on the shared disk."""
    known = facts()
    (disk / "apps/modulefiles").mkdir()
    for program in sorted({path.parts[0] for path in environments()}):
        (disk / "apps" / program).mkdir()
        run("mount", "-o", "bind,ro", cluster.APPS / "apps" / program, disk / "apps" / program)
    run("mount", "-o", "bind,ro", cluster.APPS / "wheels", disk / "pypi")
    run("mount", "-o", "bind,ro", cluster.APPS / "hub", disk / "hub")
    modules = {key: module for key, module in vars(known.modules).items() if module}
    values = {f"@{key}@": value for key, value in (vars(known.paths) | modules).items()}
    for key, module in modules.items():
        text = (cluster.HERE / "modulefiles" / f"{key}.lua").read_text(encoding="utf-8")
        for word, value in values.items():
            text = text.replace(word, value)
        write(disk / "apps/modulefiles" / f"{module if '/' in module else f'{module}/1'}.lua", text)
    for program in tomllib.loads((cluster.HERE / "stand-ins.toml").read_text(encoding="utf-8")):
        path = disk / "apps/stand-ins" / program
        if ".so" in program:
            library = next((cluster.IMAGE / "usr/lib").glob("*-linux-gnu/libm.so.6"))
            path.symlink_to("/" / library.relative_to(cluster.IMAGE))
            continue
        write(
            path,
            f"#!/bin/sh\necho 'This is the small Triton: it has no {program}, only this "
            "stand-in.' >&2\nexit 1\n",
            0o755,
        )
    (disk / "apps/octave/bin").mkdir(parents=True)
    for program in ("octave", "octave-cli"):
        (disk / "apps/octave/bin" / program).symlink_to(f"/usr/bin/{program}")
    guide = disk / "apps/triton"
    for name in ("bin", "lib"):
        shutil.copytree(
            cluster.ROOT / "triton" / name,
            guide / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(cluster.ROOT / "triton/facts.toml", guide)


def environments() -> tuple[Path, Path]:
    """The paths of two environments below the central software: that of Jupyter, and the one for
    people's computations.
    """
    known = facts()
    central = Path(known.paths.jupyter_env).relative_to(known.paths.apps)
    return central, Path(known.modules.python)


def network(hosts: Iterable[Host]) -> None:
    """Make a switch for each network, and connect its hosts. No network leads out."""
    (cluster.IMAGE / "run/netns").mkdir()
    for name in cluster.NETWORKS:
        in_image("ip", "link", "add", name, "type", "bridge")
        in_image("ip", "link", "set", name, "up")
    for host in hosts:
        in_image("ip", "netns", "add", host.name)
        in_image("ip", "-n", host.name, "link", "set", "lo", "up")
        for index, (name, address) in enumerate(host.addresses.items()):
            here = f"{host.name}.{index}"
            there = f"eth{index}"
            peer = ("peer", "name", there, "netns", host.name)
            in_image("ip", "link", "add", here, "type", "veth", *peer)
            in_image("ip", "link", "set", here, "master", name, "up")
            in_image("ip", "-n", host.name, "address", "add", f"{address}/24", "dev", there)
            in_image("ip", "-n", host.name, "link", "set", there, "up")


def boot(host: Host, hosts: Sequence[Host], state: Path, memory: Memory) -> subprocess.Popen[bytes]:
    """Start `host`; return the process that holds it.

    Writes the pid of the host's first process, as seen from here, into state/hosts, for
    cluster.command_on. Raises SystemExit if the host does not start.
    """
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
        "PATH": HOST_PATH.removeprefix("PATH="),
        "LANG": "C.UTF-8",
        "CLUSTER": facts().cluster.name.lower(),
        "APPS": facts().paths.apps,
        "SCRATCH": facts().paths.scratch,
    }
    if host.name == cluster.GPU_NODE:
        environment["GPUS"] = str(2 * len(cluster.gpu_types()))
    if memory == "cgroup" and host.role == "node":
        environment |= {
            "CGROUP": cluster.cgroup_name(state),
            "CONTROLLERS": " ".join(
                name for name in cluster.CGROUPS if (cluster.CGROUP_ROOT / name).is_dir()
            ),
        }
    namespaces = ("--mount", "--uts", "--ipc", "--pid", "--propagation", "private")
    process = subprocess.Popen(
        [
            *("nsenter", f"--net={cluster.IMAGE}/run/netns/{host.name}"),
            *("unshare", *namespaces, "--fork", "--kill-child"),
            *(cluster.HERE / "host.sh", host.name, host.role, disk),
        ],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
    )
    while not (first := cluster.children(process.pid)):
        if process.poll() is not None:
            raise SystemExit(f"{host.name} did not start")
        time.sleep(0.005)
    (state / "hosts" / host.name).write_text(f"{first[0]}\n")
    return process


def wait(what: str, seconds: float, works: Callable[[], bool]) -> None:
    """Wait until `works()` is true. Raises SystemExit if it is not after so many seconds."""
    for _ in range(int(seconds / 0.05)):
        if works():
            return
        time.sleep(0.05)
    raise SystemExit(f"gave up waiting for {what}")


def wait_for_services(host: Host, process: subprocess.Popen[bytes], state: Path) -> None:
    """Wait until the services of `host` run. Raises SystemExit if it ends instead."""
    ready = Path(f"/proc/{(state / 'hosts' / host.name).read_text().strip()}/root/run/ready")
    wait(
        f"the services of {host.name}",
        60,
        lambda: ready.exists() or process.poll() is not None,
    )
    if process.poll() is not None:
        raise SystemExit(f"{host.name} ended while it started")


def start(state: Path, nodes: int, memory: Memory) -> None:
    """Start the cluster; return when Slurm has all nodes idle. Raises SystemExit if it fails."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {what}", flush=True)

    hosts = cluster.plan(nodes)
    disk = make_disk(state)
    layers(disk, hosts, nodes, memory)
    network(hosts)
    say("disk and network")
    (disk / "scratch").mkdir()
    shared_folders(disk)
    say("shared folders")
    processes = [boot(host, hosts, state, memory) for host in hosts]
    say("hosts started")
    for host, process in zip(hosts, processes, strict=True):
        wait_for_services(host, process, state)
    say("services answer")
    ask = command_on("ctl", state, "sinfo", "--noheader", "--Node", "--format=%N %t")
    idle = {f"{host.name} idle" for host in hosts if host.role == "node"}
    wait(
        "idle nodes",
        60,
        lambda: {*subprocess.run(ask, capture_output=True, text=True).stdout.splitlines()} == idle,
    )
    say("all nodes idle")
    (state / "ready").touch()


def command_on(host: str, state: Path, *words: str) -> list[str]:
    """As cluster.command_on, from inside the machine room."""
    pid = (state / "hosts" / host).read_text().strip()
    return ["nsenter", f"--target={pid}", *cluster.INTO_HOST, *words]


def make_apps(folder: Path) -> None:
    """Install the central software and the hub's environment below `folder`; see cluster.apps."""
    shutil.rmtree(folder / "apps", ignore_errors=True)
    new = not (folder / "wheels").is_symlink()
    for name in ("wheels", "hub") if new else ():
        shutil.rmtree(folder / name, ignore_errors=True)
    root = host_root(folder)
    central, compute = (f"{facts().paths.apps}/{path}" for path in environments())
    service = cluster.ROOT / "triton/jupyterhub"
    if new:
        print("Getting the packages that the small Triton has ...", flush=True)
        get_wheels(root, cluster.HERE / "requirements.txt", "/srv/pypi")
        get_wheels(root, service / "requirements.txt", "/srv/hub-wheels")
        print(f"Installing them into {folder} ...", flush=True)
        # The hub's environment does not depend on the facts, so `make adopted` keeps it.
        install(root, HUB_ENVIRONMENT, "/srv/hub-wheels", packages_in(root, "/srv/hub-wheels"))
        install_proxy(root, service)
    install(root, central, "/srv/pypi", {*packages_in(root, "/srv/pypi")} - USERS_PACKAGES)
    install(root, compute, "/srv/pypi", COMPUTE_PACKAGES)
    extension = service / "labextension"
    name = json.loads((extension / "package.json").read_text(encoding="utf-8"))["name"]
    shutil.copytree(extension, root / central.lstrip("/") / "share/jupyter/labextensions" / name)
    run(
        *("chroot", root, f"{central}/bin/python"),
        *("-m", "bash_kernel.install", "--sys-prefix"),
        stdout=subprocess.DEVNULL,
    )
    kernel = root / str(facts().paths.r_kernel).lstrip("/")
    kernel.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(root / "usr/share/jupyter/kernels/ir", kernel.parent, dirs_exist_ok=True)


def in_root(root: Path, *command: str | Path, **options: Any) -> None:
    """Run `command` in a root folder like a host's, but with this machine's network and settings
    for packages.
    """
    settings = [
        f"{name}={value}"
        for name, value in os.environ.items()
        if re.match(r"(?i)pip_(index_url|extra_index_url|timeout|default_timeout)$|.*_proxy$", name)
    ]
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    settings += [f"PIP_CERT={certificates}", f"NODE_EXTRA_CA_CERTS={certificates}"]
    settings += ["PIP_CONFIG_FILE=/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK=1"]
    clean: list[str | Path] = ["env", "-i", HOST_PATH, "HOME=/root", "LANG=C.UTF-8"]
    run("chroot", root, *clean, *settings, *command, **options)


def get_wheels(root: Path, requirements: Path, wheels: str) -> None:
    """Put the packages of `requirements`, each checked against its hash, into `wheels`, a path on
    the host.
    """
    if not (root / "srv/pip").exists():
        in_root(root, "python3", "-m", "venv", "/srv/pip")
    shutil.copy(requirements, root / "srv/requirements.txt")
    in_root(
        *(root, "/srv/pip/bin/pip", "wheel", "--quiet", "--quiet", "--no-deps", "--no-cache-dir"),
        *("--require-hashes", "--requirement=/srv/requirements.txt", f"--wheel-dir={wheels}"),
    )


def install_proxy(root: Path, service: Path) -> None:
    """Install the hub's proxy with npm, as triton/jupyterhub/README.md says."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(service / name, root / HUB_ENVIRONMENT.lstrip("/"))
    in_root(
        *(root, "env", f"PATH={HUB_ENVIRONMENT}/bin:/usr/bin:/bin", "npm", "ci"),
        *(f"--prefix={HUB_ENVIRONMENT}", "--ignore-scripts", "--no-audit", "--no-fund"),
        *("--loglevel=error", "--no-update-notifier"),
        stdout=subprocess.DEVNULL,
    )


def trusted_here() -> list[str]:
    """Where this machine may have the certificates that it trusts, the most specific first."""
    named = [os.environ.get(name, "") for name in ("PIP_CERT", "SSL_CERT_FILE")]
    usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
    return [path for path in (*named, ssl.get_default_verify_paths().cafile, *usual) if path]


def host_root(folder: Path) -> Path:
    """Mount a root folder like a host's, with the folders of `folder` in place; return it."""
    top = Path("/mnt")
    run("mount", "-t", "tmpfs", "-o", "size=1G", "tmp", top)
    for name in (
        "upper/srv/pypi",
        "upper/srv/hub-wheels",
        f"upper{HUB_ENVIRONMENT}",
        "upper/etc/ssl/certs",
        "image",
        "work",
        "root",
    ):
        (top / name).mkdir(parents=True)
    shutil.copy(cluster.HERE / "etc/pip.conf", top / "upper/etc/pip.conf")
    if trusted := next(filter(os.path.exists, map(os.path.expanduser, trusted_here())), None):
        shutil.copy(trusted, top / "upper/etc/ssl/certs/ca-certificates.crt")
    for name in ("hosts", "resolv.conf"):
        shutil.copy(Path("/etc", name), top / "upper/etc" / name)
    run("mount", "--bind", cluster.IMAGE, top / "image")
    overlay = "lowerdir=image,upperdir=upper,workdir=work,userxattr"
    run("mount", "-t", "overlay", "overlay", "-o", overlay, "root", cwd=top)
    root = top / "root"
    for name in ("dev", "proc"):
        run("mount", "--rbind", f"/{name}", root / name)
    run("mount", "-t", "tmpfs", "root", root / "root")
    apps = root / str(facts().paths.apps).lstrip("/")
    apps.mkdir(parents=True, exist_ok=True)
    for source, target in (
        ("apps", apps),
        ("wheels", root / "srv/pypi"),
        ("hub", root / HUB_ENVIRONMENT.lstrip("/")),
    ):
        (folder / source).mkdir(exist_ok=True)
        run("mount", "--bind", folder / source, target)
    uv = root / "usr/local/bin/uv"
    uv.touch()
    run("mount", "--bind", cluster.ROOT / ".venv/bin/uv", uv)
    return root


def packages_in(root: Path, wheels: str) -> list[str]:
    """The names of the packages in `wheels`, a path on the host."""
    return [wheel.name.split("-")[0] for wheel in (root / wheels.lstrip("/")).glob("*.whl")]


def install(root: Path, target: str, wheels: str, packages: Iterable[str]) -> None:
    """Make an environment at `target` with these packages.

    `target` and `wheels` are paths on a host whose root folder is `root`.
    """
    inside = ("chroot", root, "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/root")
    run(*inside, "LANG=C.UTF-8", "/usr/bin/python3", "-m", "venv", "--without-pip", target)
    python = f"--python={target}/bin/python"
    run(
        *(*inside, "LANG=C.UTF-8", "uv", "pip", "install", python),
        *("--quiet", "--offline", "--no-index", f"--find-links={wheels}", "--no-cache"),
        *("--compile-bytecode", "--link-mode=copy", *packages),
    )
    # jsonschema would compile its grammar for two seconds at each start, for addresses of a kind
    # that no schema of Jupyter has. It takes the package only where it is there.
    run(*inside, "uv", "pip", "uninstall", "--quiet", python, "rfc3987-syntax")


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # which an ordinary user's may lack
    if sys.argv[1] == "--apps":
        try:
            make_apps(Path(sys.argv[2]))
        except subprocess.CalledProcessError as error:
            sys.exit(f"This failed, and above stands why: {shlex.join(error.cmd)}")
    else:
        start(
            Path(sys.argv[1]), int(sys.argv[2]), "cgroup" if sys.argv[3] == "cgroup" else "polling"
        )
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                signal.pause()
