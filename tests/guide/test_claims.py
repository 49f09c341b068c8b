"""What the guide says about the cluster is true on the small cluster."""

import inspect
import itertools
import json
import re
import shlex
import subprocess
import time
from contextlib import closing
from urllib.parse import urlparse

import pytest

from tools import pages
from tools.browser import needs_chromium
from tools.cluster import cluster, jupyter_server
from tools.cluster.jupyter_server import (
    PATIENCE,
    Server,
    Ssh,
    ended,
    let_in,
    listens,
    literals,
    proxy,
    proxy_answers,
    rows,
    wait_until,
)
from tools.cluster.small_triton import PROMPTS
from tools.cluster.terminal import Terminal
from tools.proof.amounts import NUMBERS, UNITS

FACTS = cluster.facts()
HOSTS, PATHS, MODULES, PARTITIONS = (
    getattr(FACTS, name) for name in ("hosts", "paths", "modules", "partitions")
)
PORT, NODE = FACTS.proxy.port, f"{HOSTS.node}.{HOSTS.domain}"
CONNECTING, KERNELS = "triton/apps/jupyter/connecting.rst", "triton/apps/jupyter/kernels.rst"


@pytest.fixture(autouse=True)
def claim(request):
    """The paragraphs of the guide that name the test. A failure report lists their places, and the
    files that the test names.
    """
    places = pages.claims(f"test_claims.py::{request.function.__name__}")
    files = re.findall(r"\b(?:triton|scicomp)/[\w/.-]+\w", inspect.getsource(request.function))
    request.node.add_report_section(
        "setup", "claim", "\n".join([*(f"{page}:{line}" for page, line, _ in places), *files])
    )
    return [text for *_, text in places]


@pytest.fixture(scope="module")
def user(triton):
    name = triton.account()
    let_in(triton, name)
    yield name
    triton.run("login", "scancel --me", name, check=False)


@pytest.fixture(scope="module", autouse=True)
def out_of_time(triton, user):
    """The number of a job that reaches its time limit after a minute, while the other tests run."""
    script = (
        "#!/bin/bash\n#SBATCH --time=1 --mem=50M --job-name=out-of-time "
        "--output=out-of-time\nsleep 600\n"
    )
    yield triton.run(
        "login", "cat > long.sh; sbatch --parsable long.sh", user, input=script
    ).stdout.strip()


@pytest.fixture(scope="module")
def server(triton, user):
    """A Jupyter server in the queue, submitted from an ssh session on a laptop that has ended
    since.
    """
    with closing(Terminal(triton, "laptop", user, PROMPTS)) as terminal:
        terminal.type(f"ssh {user}@{HOSTS.login}")
        assert terminal.host == "login"
        running = Server(triton, user, submit=lambda command: terminal.type(command)[0][0])
        running.first = running.kernel()
        assert running.first.execute("answer = 42")["status"] == "ok"
        terminal.type("exit")
        assert terminal.host == "laptop"
    yield running
    running.end()


def submit(triton, user, script, options="", name="job.sh"):
    """Submit `script`, a bash script without its first line; return the number of the job."""
    triton.write("login", f"~/{name}", f"#!/bin/bash\n{script}\n", user)
    return (
        triton.run("login", f"sbatch --parsable {options} {name}", user)
        .stdout.strip()
        .split(";")[0]
    )


def state(triton, user, job, wanted=None, seconds=PATIENCE):
    """(State, ExitCode) of `job` in Slurm's accounting, once the state is `wanted` or the job has
    ended.
    """
    for _ in range(seconds * 5):
        listed = triton.run(
            "login",
            f"sacct --noheader --parsable2 --allocations --jobs={job} --format=State,ExitCode",
            user,
        ).stdout
        fields = listed.splitlines()[-1].split("|") if listed.strip() else ["", ""]
        if fields[0] and (
            fields[0].startswith(wanted) if wanted else fields[0] not in ("PENDING", "RUNNING")
        ):
            break
        time.sleep(0.2)
    return fields


# ---------------------------------------------------------------- connecting


@pytest.mark.claims(
    "From anywhere else the login node does not answer, but ``{{ hosts.gateway }}`` "
    "does. ``-J`` jumps over it.",
    "Without ``hostname`` at the end you stay there.",
    "An old ``ssh`` has no ``-J``. Its long form does the same:",
    "In {{ cluster.network }}{{ if cluster.vpn }}, or on the VPN{{ end }}:",
)
@pytest.mark.claims(
    "Leave ``hostname`` out to stay.",
    "Or jump through the gateway:",
    "Outside the university's networks, go through the gateway:",
    "On the login node. It is for editing,",
)
def test_from_outside_ssh_needs_the_gateway(triton, user):
    """From outside, ssh reaches the login node only through the gateway."""
    there = f"{user}@{HOSTS.login}"
    ssh = "ssh -o BatchMode=yes -o ConnectTimeout=5"
    direct = triton.run("outside", f"{ssh} {there} hostname", user, check=False)
    assert direct.returncode == 255 and HOSTS.login not in direct.stdout
    for way in (
        f"-J {user}@{HOSTS.gateway} {there}",
        f"{there} -o ProxyCommand='ssh {user}@{HOSTS.gateway} -W %h:%p'",
    ):
        assert triton.run("outside", f"{ssh} {way} hostname", user).stdout.strip() == HOSTS.login
    assert triton.run("laptop", f"{ssh} {there} hostname", user).stdout.strip() == HOSTS.login
    with closing(Terminal(triton, "laptop", user, PROMPTS)) as terminal:
        for command, host in ((f"ssh {there} hostname", "laptop"), (f"ssh {there}", "login")):
            terminal.type(command)
            assert terminal.host == host


@pytest.mark.claims(
    "Save typing with this file; write your own user name for ``username``:",
    "It works? Append it to your own settings, and ``ssh {{ hosts.short }}`` is enough "
    "from then on.",
    "ssh {{ hosts.short }}: in the networks of the university{{ if cluster.vpn }}, or on "
    "its VPN{{ end }} {{ if "
    "hosts.gateway }}# ssh {{ hosts.short }}-outside: from anywhere else{{ end }}",
)
@pytest.mark.claims("With the :ref:`settings for ssh <ssh-outside>` you can leave out ``-J``.")
def test_the_shown_ssh_settings_connect_from_inside_and_outside(triton, user):
    settings = pages.read("triton/apps/jupyter/ssh_config").replace("username", user)
    for host, name in (("laptop", HOSTS.short), ("outside", f"{HOSTS.short}-outside")):
        before = triton.run(
            host, f"ssh -o BatchMode=yes -o ConnectTimeout=5 {name} hostname", user, check=False
        )
        assert before.returncode == 255, "the name works without the settings file"
        triton.run(host, "cat >> .ssh/config", user, input=settings)
        try:
            assert (
                triton.run(host, f"ssh -o BatchMode=yes {name} hostname", user).stdout.strip()
                == HOSTS.login
            )
            assert (
                triton.run(
                    host,
                    f"echo copied > table.csv; scp -q table.csv {name}:; ssh {name} cat table.csv",
                    user,
                ).stdout
                == "copied\n"
            )
            options = triton.run(host, f"ssh -G {name}", user).stdout.splitlines()
            assert "serveraliveinterval 60" in options and ("proxyjump" in "".join(options)) == (
                host == "outside"
            )
            other = triton.run(
                host,
                f"ssh -F /dev/stdin -G {name}",
                input=settings,
                # as root, who would also be root on the other host without the setting
            ).stdout.splitlines()
            assert f"user {user}" in other and (
                host == "laptop" or f"proxyjump {user}@{HOSTS.gateway}" in other
            )
        finally:
            triton.run(host, "rm .ssh/config", user)


@pytest.mark.claims(
    "Laptops that sleep cut it each time; ``ServerAliveInterval`` in the file above lets "
    "``ssh`` notice."
)
def test_with_alive_messages_ssh_notices_a_silent_end(triton, user):
    """The connection stops as a sleeping laptop's does. The settings' minute is a second here."""
    settings = (
        pages.read("triton/apps/jupyter/ssh_config")
        .replace("username", user)
        .replace("ServerAliveInterval 60", "ServerAliveInterval 1")
    )
    triton.run("laptop", "cat > settings", user, input=settings)
    with Ssh(triton, "laptop", user, f"-F settings -N -D {PORT} {HOSTS.short}") as ssh:
        proxy_answers(triton)
        daemons = triton.run(
            "login", f"ps --no-headers -o pid=,args= -u {user} | awk '/sshd/ {{print $1}}'"
        ).stdout.split()
        triton.run("login", f"kill -STOP {' '.join(daemons)}")
        try:
            ssh.waits_for("Timeout, server .* not responding")
        finally:
            triton.run("login", f"kill -CONT {' '.join(daemons)}", check=False)
    triton.run("laptop", "rm settings", user)


@pytest.mark.claims(
    "If it one day says ``REMOTE HOST IDENTIFICATION HAS CHANGED``, stop and ask us."
)
def test_a_host_whose_key_has_changed_is_refused_with_a_warning(triton, user):
    [warning] = [
        text for text in literals(pages.read("triton/tut/connecting.rst")) if text.isupper()
    ]
    triton.run(
        "laptop",
        "cd .ssh; cp known_hosts kept; ssh-keygen -q -t ed25519 -N '' -f other; echo "
        f"{HOSTS.login} $(cat other.pub) > known_hosts",
        user,
    )
    completed = triton.run(
        "laptop",
        f"ssh -o BatchMode=yes {user}@{HOSTS.login} hostname; s=$?; cd .ssh; mv kept "
        "known_hosts; rm other*; exit $s",
        user,
        check=False,
    )
    assert completed.returncode == 255 and warning in completed.stderr


@pytest.mark.claims(
    "Type a passphrase when it asks: whoever copies the file cannot use it without.",
    "``ssh-add`` unlocks the key until you log out of your computer.",
)
def test_a_key_with_a_passphrase_is_unlocked_once_for_all(triton, user):
    prepare = (
        "cp .ssh/id_ed25519 locked; ssh-keygen -q -p -P '' -N secret -f locked; ssh='ssh -o "
        f"BatchMode=yes -o IdentitiesOnly=yes -i locked {user}@{HOSTS.login}'; "
    )
    agent = (
        "printf '#!/bin/sh\\necho secret\\n' > say; chmod 700 say; eval $(ssh-agent) > "
        "agent; DISPLAY=: SSH_ASKPASS=./say SSH_ASKPASS_REQUIRE=force ssh-add -q locked; "
    )
    try:
        assert triton.run("laptop", prepare + "$ssh hostname", user, check=False).returncode == 255
        completed = triton.run(
            "laptop",
            prepare.replace("ssh-keygen", "true")
            + agent
            + "$ssh hostname && $ssh hostname; kill $SSH_AGENT_PID",
            user,
        )
        assert completed.stdout.split() == [HOSTS.login] * 2
    finally:
        triton.run("laptop", "rm -f locked say agent", user)


def prompted(triton, user, host, answer, command):
    """Run `command` and answer each question of ssh with `answer`: (the output, the questions)."""
    triton.write(host, "~/say", f'#!/bin/sh\necho "$1" >> asked\necho {answer}\n', user, "700")
    completed = triton.run(
        host,
        "rm -f asked; export DISPLAY=: SSH_ASKPASS=./say SSH_ASKPASS_REQUIRE=force; "
        f"{command}; echo; cat asked; rm -f say asked",
        user,
    )
    printed, _, questions = completed.stdout.partition("\n\n")
    return printed, questions


@pytest.mark.claims(
    "The first time, ``ssh`` shows the fingerprint of the host's key and asks whether "
    "you trust it.",
    "Compare it with the published one, then answer ``yes``. It does not ask again.",
)
def test_ssh_asks_once_whether_one_trusts_the_host(triton, user):
    """The question shows the fingerprint of the host."""
    ssh = f"ssh -o UserKnownHostsFile=known {user}@{HOSTS.login} hostname"
    printed, questions = prompted(triton, user, "laptop", "yes", f"{ssh}; {ssh}; rm known")
    fingerprint = triton.run(
        "login", "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub"
    ).stdout.split()[1]
    assert (
        printed.split() == [HOSTS.login] * 2
        and questions.count(fingerprint) == 1
        and questions.count("Are you sure you want to continue connecting") == 1
    )


@pytest.mark.claims("It may ask twice: once for the gateway, once for {{ cluster.name }}.")
def test_over_the_gateway_ssh_asks_for_a_password_twice(triton, user):
    ssh = (
        f"mv .ssh/id_ed25519 aside; ssh -J {user}@{HOSTS.gateway} {user}@{HOSTS.login} "
        "hostname; mv aside .ssh/id_ed25519"
    )
    printed, questions = prompted(triton, user, "outside", triton.password(user), ssh)
    assert printed.strip() == HOSTS.login and re.findall(r"@(\S+)'s password", questions) == [
        HOSTS.gateway,
        HOSTS.login,
    ], questions


@pytest.mark.claims(
    "If it says that the file exists, you have a key already: answer ``n`` and take that one.",
    "Give its public half to {{ cluster.name }}:",
    "From now on your computer asks for the passphrase, not for the password.",
    "The file without ``.pub`` is the secret half: it stays where it is,",
)
@pytest.mark.claims("On Windows, press Enter when it asks for a file:")
def test_a_new_key_is_asked_for_instead_of_the_password(triton):
    """The command that is shown for Windows transfers the public half of the key."""
    user, page = triton.account(), pages.read("triton/tut/connecting.rst")
    make, give = (
        re.search(pattern, page, re.MULTILINE)[1]
        for pattern in (r"^ +(ssh-keygen -t \S+)$", r"^ +type \S+\.pub \| (ssh .*)$")
    )
    known = f"{HOSTS.login} {triton.run('login', 'cat /etc/ssh/ssh_host_ed25519_key.pub').stdout}"
    triton.run("laptop", "mkdir -m 700 .ssh; cat > .ssh/known_hosts", user, input=known)
    ssh, key = f"ssh {user}@{HOSTS.login} hostname", ".ssh/id_ed25519"
    assert "'s password" in prompted(triton, user, "laptop", triton.password(user), ssh)[1]
    # an empty line is Enter, when it asks for a file
    prompted(triton, user, "laptop", "secret", f"echo | {make}")
    kept = triton.run("laptop", f"head -1 {key}; cat {key}.pub", user).stdout.splitlines()
    assert "PRIVATE KEY" in kept[0] and kept[1].startswith("ssh-ed25519 ")
    again = triton.run("laptop", f"echo n | ssh-keygen -t ed25519 -f {key}", user, check=False)
    assert (
        "already exists" in again.stdout
        and triton.run("laptop", f"head -1 {key}; cat {key}.pub", user).stdout.splitlines() == kept
    )
    prompted(
        triton,
        user,
        "laptop",
        triton.password(user),
        f"cat {key}.pub | {give.replace('username', user)}",
    )
    assert triton.run("login", "cat .ssh/authorized_keys", user).stdout.splitlines() == kept[1:]
    printed, questions = prompted(triton, user, "laptop", "secret", ssh)
    assert (
        printed.strip() == HOSTS.login
        and "Enter passphrase for key" in questions
        and "'s password" not in questions
    )


def ask(triton, user, url, how):
    """The exit status and the output of `curl` for `url` on the laptop."""
    completed = triton.run(
        "laptop", f"curl --silent --show-error --max-time 10 {how} {url}", user, check=False
    )
    return completed.returncode, completed.stdout + completed.stderr


def test_a_server_has_its_address_once_it_answers(triton, user):
    early = "echo http://$(hostname):4567/lab; sleep 5; exec python3 -m http.server 4567"
    with Server(triton, user, "--mem=500M --time=5", before=early) as slow:
        assert (
            triton.run(
                "login", f"curl --silent --output /dev/null {slow.url}", user, check=False
            ).returncode
            == 0
        )


@pytest.mark.claims(
    "What arrives there comes out on {{ cluster.name }}.",
    "No program listens at that port, so the proxy hangs up; but it was the proxy that "
    "answered. (Try the address of your "
    "own server, and ``curl`` prints a page.) Without the proxy nobody knows the name:",
    "While the proxy runs, ask for a compute node by its name,",
    "This is why DNS has to go through the proxy, in the browser as well. "
    "``--socks5-hostname`` does so, ``--socks5`` does not.",
)
def test_names_are_looked_up_at_the_far_end_of_the_proxy(triton, user, server, claim):
    url, [(does, does_not)] = f"{server.url}/api", map(literals, claim)
    with proxy(triton, user):
        status, output = ask(triton, user, url, f"{does} localhost:{PORT}")
        assert status == 0 and "version" in json.loads(output)
        assert ask(triton, user, url, f"{does_not} localhost:{PORT}")[0] == 97
        assert ask(triton, user, url, "")[0] == 6
        assert (
            "<title>"
            in ask(
                triton,
                user,
                server.address,
                f"--location --cookie-jar /dev/null {does} localhost:{PORT}",
            )[1]
        ), "curl prints no page"
        assert ask(triton, user, f"http://{NODE}:1", f"{does} localhost:{PORT}")[0] == 97, (
            "a closed port looks different"
        )


@pytest.mark.claims(
    "It has to run whenever you use the notebook, so leave the window open.",
    "Start the proxy again. It ended with its ``ssh``, and until it is back every "
    "address that goes through it fails: "
    "compute nodes,",
    "Your notebooks have gone on running.",
)
def test_after_a_dropped_connection_the_proxy_is_started_again(triton, user, server):
    """Without the proxy the address fails, and notebooks keep running."""
    url, how = f"{server.url}/api", f"--socks5-hostname localhost:{PORT}"
    server.first.execute("dropped = True")
    with proxy(triton, user):
        assert ask(triton, user, url, how)[0] == 0
    assert ask(triton, user, url, how)[0] == 7
    with proxy(triton, user):
        assert ask(triton, user, url, how)[0] == 0
    assert server.first.prints("print(dropped)") == "True"


@pytest.mark.claims(
    "With an old ``ssh``: ``ssh -D {{ proxy.port }} username@{{ hosts.login }} -o "
    "ProxyCommand='ssh username@{{ "
    "hosts.gateway }} -W %h:%p'``"
)
def test_from_outside_both_forms_of_the_proxy_work(triton, user, server):
    """Both forms lead through the gateway."""
    gate = f"{user}@{HOSTS.gateway}"
    for way in (f"-J {gate}", f"-o ProxyCommand='ssh {gate} -W %h:%p'"):
        with proxy(triton, user, "outside", way):
            completed = triton.run(
                "outside",
                f"curl --silent --socks5-hostname localhost:{PORT} {server.url}/api",
                user,
            )
            assert "version" in json.loads(completed.stdout)


@pytest.mark.claims(
    "You are on the login node as usual; at the same time ``-D {{ proxy.port }}`` has "
    "opened port ``{{ proxy.port }}`` on "
    "your own computer.",
    "With ``-N`` it is the proxy alone, without a shell.",
)
def test_the_proxy_with_N_has_no_shell(triton, user):
    def shells():
        return triton.run("login", f"ps --no-headers -u {user} -o args", check=False).stdout.count(
            "-bash"
        )

    with proxy(triton, user):
        assert shells() == 0
    with Ssh(triton, "laptop", user, f"-tt -D {PORT} {user}@{HOSTS.login}"):
        proxy_answers(triton)
        for _ in range(PATIENCE * 2):
            if (number := shells()) == 1:  # a shell that starts runs further shells
                break
            time.sleep(0.1)
        assert number == 1


@pytest.mark.claims(
    "You need it for :doc:`sjupyter <sjupyter>`,",
    "You cannot change the browser? Forward one port.",
    "Then open the address that it printed, with ``localhost`` in place of the node and "
    "the token as it is: "
    "``http://localhost:{{ proxy.example }}``.",
    "It serves this one server; the next one has another node or port.",
)
def test_one_forwarded_port_serves_one_server(triton, user, server):
    node, port = server.url.removeprefix("http://").split(":")
    here = FACTS.proxy.example
    with Ssh(triton, "laptop", user, f"-N -L {here}:{node}:{port} {user}@{HOSTS.login}"):
        listens(triton, "laptop", here)
        assert (
            ask(triton, user, f"http://localhost:{here}/api/kernels?token={server.token}", "")[
                1
            ].count(server.first.number)
            == 1
        )
        assert ask(triton, user, f"http://localhost:{here}/api/kernels", "--fail")[0] == 22, (
            "the server answers without its token"
        )
        assert ask(triton, user, server.url, "")[0] == 6


THROUGH = [
    f"http://{NODE}:8888/lab",
    f"https://{NODE}/",
    f"http://c4.{HOSTS.domain}:34567/",
    f"http://not-there.{HOSTS.domain}/",
    f"http://{NODE.upper()}:8889/",
    f"https://{HOSTS.hub}/",
    f"http://{HOSTS.hub}:8000/hub/login",
    f"https://someone.{HOSTS.hub}/user/someone/lab",
]
DIRECT = [
    f"http://{HOSTS.login}:8888/",
    f"http://{HOSTS.gateway}/",
    "http://laptop:8888/",
    f"http://{HOSTS.domain}/",
    f"http://un{HOSTS.domain}/",
    f"http://{NODE}.example.org/",
    f"http://not{HOSTS.hub}/",
    f"http://example.org/{NODE}",
]


@pytest.mark.claims(
    "Or start one with the :ref:`ready file <proxy-pac>`: ``--proxy-pac-url={{ site.url "
    "}}triton/apps/jupyter/proxy.pac``,",
    "Browsers call it a PAC file. It decides where each address goes:",
    "Addresses that end in ``.{{ hosts.domain }}``, the hub ``{{ hosts.hub }}``, and the "
    "hub's servers ``{{ hosts.servers "
    "}}`` go through the proxy. All others go directly, as before.",
    "Which proxy for which address? The browser asks this function for each one.",
    "So all these go through the ssh -D on this computer, and their names are looked up "
    "at its other end. Everything else "
    "goes as it always did.",
    "The proxy is an ``ssh`` that also carries what your browser sends.",
    "and a rule in the browser. :ref:`proxy` goes through it step by step, and has a "
    "file that spares you the rule.",
)
@needs_chromium
def test_the_proxy_file_takes_the_clusters_addresses_only(triton, user, tmp_path):
    """The browser requests all other addresses without the proxy."""
    from playwright.sync_api import sync_playwright

    outcomes = {}
    with (
        Ssh(triton, "laptop", user, f"-vv -N -D {PORT} {user}@{HOSTS.login}") as ssh,
        sync_playwright() as playwright,
        jupyter_server.proxy_file(triton, user) as address,
        jupyter_server.browser(playwright, triton, tmp_path, pac=address) as chromium,
    ):
        proxy_answers(triton)
        page = chromium.new_page()
        for url in THROUGH + DIRECT:
            before, error = len(ssh.said()), ""
            try:
                page.goto(url, timeout=PATIENCE * 1000, wait_until="commit")
            # Each page fails with an error of its own; only the use of the proxy matters.
            except Exception as failed:
                error = str(failed).splitlines()[0]
            for _ in range(PATIENCE if url in THROUGH else 1):
                requests = re.findall(
                    r"dynamic request: socks5 host (\S+) port (\d+)", ssh.said()[before:]
                )
                outcomes[url] = (
                    urlparse(url).hostname in {host.lower() for host, _ in requests},
                    error,
                    requests,
                )  # the browser may also try an earlier address again
                if outcomes[url][0]:
                    break
                time.sleep(0.5)
    assert {url: through for url, (through, *_) in outcomes.items()} == dict.fromkeys(
        THROUGH, True
    ) | dict.fromkeys(DIRECT, False), outcomes


# ---------------------------------------------------------------- the server


@pytest.mark.claims("``exit`` ends the connection; your jobs in the queue go on without it.")
def test_a_server_in_the_queue_survives_logging_out(triton, user, server):
    assert server.first.prints("print(answer)") == "42"


def test_the_server_does_not_run_where_it_was_handed_in(triton, user, server):
    assert server.first.prints("import socket; print(socket.gethostname())") != HOSTS.login
    assert server.first.prints("import getpass; print(getpass.getuser())") == user


@pytest.mark.claims(
    "Slurm kills what takes more memory than its profile allows, without a warning and "
    "without a notice."
)
@pytest.mark.claims("Slurm kills what exceeds the limit, without a message in the notebook.")
def test_what_is_over_the_memory_limit_is_killed_and_logged(triton, user):
    """Slurm gives no notice in the notebook."""
    with Server(triton, user, "--mem=400M --time=5") as greedy:
        kernel = greedy.kernel()
        modest = greedy.kernel("bash")
        assert modest.prints("echo here") == "here"
        reply = kernel.execute("held = bytearray(900_000_000)")
        assert not (reply["stdout"] + reply["stderr"] + reply["error"] + reply["result"]), (
            "there is a notice in the notebook"
        )
        if triton.memory == "cgroup":
            assert reply["status"] == "restarting"
            assert kernel.execute("held")["error"].startswith("NameError"), (
                "the kernel was not started anew"
            )
            assert modest.prints("echo here") == "here", "another kernel or the server has ended"
            assert "killed" not in greedy.said().lower()
        else:
            ended(triton, user, greedy.job, seconds=30)
    for _ in range(PATIENCE * 2):
        if "killed" in greedy.said().lower():
            break
        time.sleep(0.1)
    log = greedy.said()
    assert (
        "oom-kill" if triton.memory == "cgroup" else "exceeded"
    ) in log and "killed" in log.lower(), log[-2000:]


# ---------------------------------------------------------------- kernels


def make_kernel(triton, user, name, env=None, **changes):
    """Give `user` a kernel: the page's kernel.json with another `env` and other keys."""
    spec = json.loads(pages.read("triton/apps/jupyter/demo-kernel.json")) | changes
    if env is not None:
        spec["env"] = env
    triton.run("login", f"mkdir -p {PATHS.user_kernels}/{name}", user)
    triton.write("login", f"{PATHS.user_kernels}/{name}/kernel.json", json.dumps(spec), user)


def environment(kernel):
    return json.loads(kernel.prints("import json, os; print(json.dumps(dict(os.environ)))"))


@pytest.mark.claims(
    "The module loads the environment that Jupyter itself runs in, so that you see what it sees.",
    "Bash - the node's own",
    "Python 2 has gone, and its kernel with it.",
    "There is no Julia kernel for everyone;",
    "Python, R{{ if modules.matlab }}, MATLAB{{ end }} and Bash are there,",
)
def test_the_kernels_for_everyone_are_there_and_answer(triton, user, server):
    there = server.kernelspecs()
    languages = {
        spec["spec"]["language"].lower(): name
        for name, spec in there.items()
        if PATHS.jupyter_env in spec["resources"].get("logo-64x64", "")
        or not name.startswith("by-hand")
    }
    listed = triton.run(
        "login", f"module load {MODULES.jupyter}; jupyter kernelspec list --json", user
    ).stdout
    assert json.loads(listed)["kernelspecs"].keys() == there.keys(), (
        "the module has other kernels than the server"
    )
    assert not [name for name in there if re.search("python2|julia", name)]
    hello = {"python": "print('hello')", "r": "cat('hello')", "bash": "echo hello"}
    listed = [row[0].lower() for row in rows(KERNELS, "Software and kernels")]
    assert set(hello) | {"matlab"} == set(listed), (
        "the page's table and this test name different kernels"
    )
    for language, code in hello.items():
        assert server.kernel(languages[language]).prints(code) == "hello"
    assert (
        server.kernel("bash").prints("readlink /proc/$$/exe")
        == triton.run("login", "readlink -f /bin/bash").stdout.strip()
    ), "Bash is not that of the node"


@pytest.mark.claims(
    "Here is one that runs as it stands:",
    "``argv`` is the command that starts the kernel; Jupyter puts a file name in place "
    "of ``{connection_file}``. "
    "``display_name`` is what the launcher shows. ``env`` is a list of variables that "
    "are set before the command starts.",
    "A kernel is a folder with a file ``kernel.json``",
    "The values are frozen then:",
)
def test_the_shown_kernel_starts_and_has_its_variables(triton, user, server):
    shown = json.loads(pages.read("triton/apps/jupyter/demo-kernel.json"))
    make_kernel(triton, user, "shown")
    spec = server.kernelspecs()["shown"]["spec"]
    assert (spec["display_name"], spec["language"]) == ("Demo, by hand", "python"), (
        "triton/apps/jupyter/demo-kernel.json"
    )
    variables = environment(server.kernel("shown"))
    path = environment(server.first)["PATH"]
    assert (
        variables["DEMO_GREETING"] == shown["env"]["DEMO_GREETING"]
        and variables["OMP_NUM_THREADS"] == "1"
    )
    assert (
        variables["DEMO_GREETING"]
        != triton.run(
            "login", f"module load {MODULES.demo}; echo $DEMO_GREETING", user
        ).stdout.strip()
    ), "the module's value replaced the one of kernel.json"
    assert variables["PATH"] == f"{PATHS.home}/{user}/bin:{path}"
    before, after = " ".join(shown["argv"]).split("{connection_file}")
    look = "print(open('/proc/self/cmdline').read().strip('\\0').replace('\\0', ' '))"
    assert re.fullmatch(
        re.escape(before) + r"/\S+\.json" + re.escape(after), server.kernel("shown").prints(look)
    )


@pytest.mark.claims(
    '``"OMP_NUM_THREADS": "1"`` - exactly that.',
    '``"${HOME}/bin"`` - your home directory, from the environment of the Jupyter '
    "server. ``$HOME`` works too.",
    '``"${HOME}/bin:${PATH}"`` - your folder, then what was in ``PATH``.',
    '``"${NOT_SET}/bin"`` - ``${NOT_SET}/bin``, as it stands, when the server has no '
    "such variable. So do not extend "
    "``LD_LIBRARY_PATH`` like this unless it is set: write it out.",
    '``"~/bin"``, ``"$(date)"`` - ``~/bin``, ``$(date)``. No shell reads them.',
    '``"$$5"`` - ``$5``',
    "You write - The kernel gets",
)
def test_what_the_env_block_does_is_what_the_table_says(triton, user, server):
    table = rows(KERNELS, "kernel-env")
    home = f"{PATHS.home}/{user}"
    servers_path = environment(server.first)["PATH"]
    env, expected = {}, {}
    for number, (written, gets) in enumerate(table):
        promised = literals(gets)
        for index, value in enumerate(literals(written)):
            name, _, text = value.rpartition(": ")
            name, text = json.loads(name) if name else f"ROW_{number}_{index}", json.loads(text)
            env[name] = text
            if gets.startswith("exactly that"):
                expected[name] = text
            elif gets.startswith("your home directory"):
                expected[name] = text.replace("${HOME}", home)
                env[name + "_AS_WELL"], expected[name + "_AS_WELL"] = (
                    text.replace("${HOME}", promised[0]),
                    expected[name],
                )
            elif gets.startswith("your folder, then"):
                assert text.endswith(":${PATH}")
                expected[name] = f"{home}/bin:{servers_path}"
                env["PATH"], expected["PATH"] = text, expected[name]
            else:
                expected[name] = promised[index]
    assert len(env) == len(table) + 3 and any("$" in value for value in expected.values())
    make_kernel(triton, user, "table", env)
    variables = environment(server.kernel("table"))
    assert {name: variables.get(name) for name in expected} == expected


@pytest.mark.claims(
    "Every value is a string, numbers too.", "Without the last part, ``PATH`` is replaced."
)
@pytest.mark.claims("**Often:** the new folder alone. It is found, and `ls` is not any more.")
def test_env_values_are_strings_and_path_alone_replaces(triton, user, server):
    """The values are in the env block of a kernel. A PATH without its old value replaces it."""
    make_kernel(triton, user, "replaced", {"PATH": "${HOME}/bin"})
    replaced = server.kernel("replaced")
    assert (
        environment(replaced)["PATH"] == f"{PATHS.home}/{user}/bin"
        and replaced.prints("import shutil; print(shutil.which('ls'))") == "None"
    )
    make_kernel(triton, user, "number", {"OMP_NUM_THREADS": 1})
    with pytest.raises(AssertionError, match="HTTP Error 500"):
        server.kernel("number")


@pytest.mark.claims(
    '``"python"`` as the first word of ``argv`` means the Python that runs Jupyter, '
    "whatever ``PATH`` says: write the full "
    "path of yours."
)
@pytest.mark.claims("That is the Python that runs Jupyter, whatever `PATH` says.")
def test_the_word_python_means_the_python_that_runs_jupyter(triton, user, server):
    """The word is the first one of a kernel's command."""
    argv = json.loads(pages.read("triton/apps/jupyter/demo-kernel.json"))["argv"]
    make_kernel(
        triton,
        user,
        "first-word",
        {"PATH": f"{PATHS.apps}/{MODULES.python}/bin:${{PATH}}"},
        argv=["python", *argv[1:]],
    )
    kernel = server.kernel("first-word")
    assert kernel.prints(
        "import sys, shutil; print(sys.prefix, shutil.which('python'))"
    ).split() == [PATHS.jupyter_env, f"{PATHS.apps}/{MODULES.python}/bin/python"]


@pytest.mark.claims("`LD_LIBRARY_PATH`, where a program looks for its libraries, is of this kind.")
@pytest.mark.claims(
    "libraries are looked up when a program starts, so ``LD_LIBRARY_PATH`` works here "
    "and not from a cell."
)
def test_libraries_are_looked_up_when_a_program_starts(triton, user, server):
    triton.run("login", "mkdir -p lib; cp /lib/*/libz.so.1 lib/libonly-here.so", user)
    load = (
        "import ctypes\ntry:\n    ctypes.CDLL('libonly-here.so'); print('found')\nexcept "
        "OSError:\n    print('not found')"
    )
    make_kernel(triton, user, "library", {"LD_LIBRARY_PATH": "${HOME}/lib"})
    assert server.kernel("library").prints(load) == "found"
    assert (
        server.first.prints(
            f"import os; os.environ['LD_LIBRARY_PATH'] = '{PATHS.home}/{user}/lib'\n{load}"
        )
        == "not found"
    )


@pytest.mark.claims(
    "Jupyter is one program, your kernel another, and they need not be of the same environment.",
    "Any Python environment becomes a kernel when it has ``ipykernel`` in it.",
    "Packages that you install into the environment later are there after a restart of the kernel.",
    "Your kernels land in a folder of your home directory.",
    "The environment itself stays; delete its folder too if you are done with it.",
    "``envkernel conda`` and ``envkernel virtualenv`` do the same for an environment, "
    "with its folder in place of the modules.",
    "and you can add your own:",
    "A kernel is the program that runs your cells.",
    "Remove one:",
)
def test_an_environment_becomes_a_kernel_and_outlives_it(triton, user, server):
    """The kernel is in the user's folder. The environment remains when the kernel is removed."""
    python = "$WRKDIR/envs/own/bin/python"
    triton.run("login", f"module load {MODULES.python}; python3 -m venv $WRKDIR/envs/own", user)
    without = triton.run(
        "login", f"{python} -m ipykernel install --user --name own-env", user, check=False
    )
    assert without.returncode and "No module named ipykernel" in without.stderr
    triton.run(
        "login",
        f"$WRKDIR/envs/own/bin/pip install --quiet ipykernel; {python} -m ipykernel "
        "install --user --name own-env",
        user,
    )
    assert (
        triton.run("login", f"ls -d {PATHS.user_kernels}/own-env", user)
        .stdout.strip()
        .endswith("own-env")
    )
    kernel = server.kernel("own-env")
    assert kernel.prints("import sys; print(sys.prefix)") == f"{PATHS.work}/{user}/envs/own"
    assert server.first.prints("import sys; print(sys.prefix)") == PATHS.jupyter_env, (
        "Jupyter and the kernel share an environment"
    )
    triton.run("login", "$WRKDIR/envs/own/bin/pip install --quiet idna", user)
    server.talk("ask", f"/api/kernels/{kernel.number}/restart", {})
    assert kernel.prints("import idna; print(idna.__name__)") == "idna", (
        "the package is missing after a restart"
    )
    triton.run(
        "login", f"module load {MODULES.jupyter}; jupyter kernelspec remove -f own-env", user
    )
    assert "own-env" not in server.kernelspecs()
    for way in ("conda", "virtualenv"):
        triton.run(
            "login",
            f"module load {MODULES.jupyter}; envkernel {way} --user --name=by-{way} "
            "$WRKDIR/envs/own",
            user,
        )
        assert (
            server.kernel(f"by-{way}").prints("import sys; print(sys.prefix)")
            == f"{PATHS.work}/{user}/envs/own"
        )
    triton.run(
        "login",
        f"! ls -d {PATHS.user_kernels}/own-env 2>/dev/null && {python} -c 'import ipykernel'",
        user,
    )


@pytest.mark.claims(
    "``envkernel`` writes a kernel that loads these modules each time it starts, and "
    "then becomes the kernel. One of the "
    "modules has to bring your ``python``, with ``ipykernel`` in it; here it is ``{{ "
    "modules.python }}``. If none does, the "
    "kernel is Jupyter's own Python. What the others set is there in your notebook.",
    "``envkernel`` has no such problem.",
)
@pytest.mark.claims("Modules come :ref:`with the kernel <module-kernel>`.")
def test_a_kernel_that_loads_a_module_has_the_modules_variables(triton, user, server):
    make = (
        f"module load {MODULES.jupyter}; envkernel lmod --user --name=with-module "
        f"{MODULES.python} {MODULES.demo}"
    )
    triton.run("login", make, user)
    set_by_module = triton.run(
        "login", f"module load {MODULES.demo}; echo $DEMO_GREETING", user
    ).stdout.strip()
    assert set_by_module and "DEMO_GREETING" not in environment(server.first)
    spec = triton.run("login", f"cat {PATHS.user_kernels}/with-module/kernel.json", user).stdout
    assert MODULES.demo in spec and set_by_module not in spec, (
        "the kernel does not load the module at its start"
    )
    kernel = server.kernel("with-module")
    assert "jupyter-lab" in kernel.prints(
        "import os; print(open(f'/proc/{os.getppid()}/cmdline').read())"
    ), "envkernel still runs beside the kernel"
    variables = environment(kernel)
    assert variables["DEMO_GREETING"] == set_by_module and variables["LOADEDMODULES"].endswith(
        MODULES.demo
    )
    assert kernel.prints("import sys; print(sys.prefix)") == f"{PATHS.apps}/{MODULES.python}"
    triton.run("login", make.replace(MODULES.python, ""), user)
    assert (
        server.kernel("with-module").prints("import sys; print(sys.prefix)") == PATHS.jupyter_env
    ), "without a module of Python, the Python is not Jupyter's"


@pytest.mark.claims(
    "Kernels that you start after that have the modules, kernels that run already do not."
)
@pytest.mark.claims("or the ``Software Modules`` tab and then a new kernel.")
def test_the_modules_tab_is_for_kernels_that_start_afterwards(server):
    """A kernel that starts after the click has the modules of the tab."""
    loaded = {"modules": [MODULES.demo]}
    server.talk("ask", "/module", loaded, "POST")  # the tab sends this request at a click
    try:
        assert "DEMO_GREETING" in environment(
            server.kernel()
        ) and "DEMO_GREETING" not in environment(server.first)
    finally:
        server.talk("ask", "/module", loaded, "DELETE")
    assert "DEMO_GREETING" not in environment(server.kernel())


LISTENS = """import os, pathlib
files = pathlib.Path("/proc/self/fd").iterdir()
mine = {os.readlink(file) for file in files if file.is_symlink()}
tables = [pathlib.Path("/proc/net", name).read_text() for name in ("tcp", "tcp6")]
rows = [line.split() for table in tables for line in table.splitlines()[1:]]
listening = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine]
print("ports:" + str(len(listening)))
"""


def ports(triton, user, command):
    """The number of TCP ports on which a kernel listens while `command` runs listens.ipynb or
    listens.py in a batch job.
    """
    triton.write("login", "listens.py", LISTENS, user)
    triton.write("login", "listens.ipynb", notebook(LISTENS), user)
    script = (
        f"#SBATCH --time=5 --mem=500M --output=listens.out\nmodule load {MODULES.jupyter}\n"
        f"{command}\n"
    )
    state(triton, user, submit(triton, user, script), "COMPLETED")
    return int(re.search(r"ports:(\d+)", triton.run("login", "cat listens.out", user).stdout)[1])


@pytest.mark.claims(
    "``jupyter run`` and ``jupyter nbconvert --execute`` do the same, so a notebook in a "
    "batch job is safe as well.",
    "If that matters, take ``jupyter nbconvert --execute``.",
)
@pytest.mark.parametrize(
    "command",
    ["jupyter run listens.py", "jupyter nbconvert --to notebook --execute --stdout listens.ipynb"],
)
def test_kernels_without_a_server_cannot_be_read_by_others(triton, user, command):
    """The kernels use sockets in a folder of their owner.

    One port remains: it receives the output of forked children and sends nothing.
    """
    assert ports(triton, user, command) == 1


@pytest.mark.claims("do not read that setting. They use TCP,")
def test_jupyter_execute_uses_tcp(triton, user):
    assert (
        ports(triton, user, "jupyter execute listens.ipynb --output=executed && cat executed.ipynb")
        > 1
    )


# This program connects to the ports of a kernel on this host, and waits for what the kernel prints.
READS = """import sys, time, zmq
poller = zmq.Poller()
for port in sys.argv[1:]:
    listener = zmq.Context.instance().socket(zmq.SUB)
    listener.subscribe(b"")
    listener.connect(f"tcp://127.0.0.1:{port}")
    poller.register(listener)
until = time.monotonic() + 20
while time.monotonic() < until:
    for listener, _ in poller.poll(1000):
        if b"a secret" in b"".join(listener.recv_multipart()):
            print("read")
            sys.exit()
"""


@pytest.mark.claims("They use TCP, where everybody on the node can read what the kernel prints.")
def test_others_read_what_a_kernel_with_tcp_prints(triton, user):
    """Other users on the same node can read it."""
    triton.write(
        "login",
        "prints.ipynb",
        notebook("import time\nfor _ in range(100):\n    print('a secret')\n    time.sleep(0.3)"),
        user,
    )
    command = f"echo $$; module load {MODULES.jupyter}; exec jupyter execute prints.ipynb"
    running = triton.start(
        "login",
        command,
        user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        number = running.stdout.readline().strip()
        look = (
            f"pid=$(pgrep --parent {number} -f ipykernel) && ss --no-header --listening --tcp "
            "--numeric --processes | grep pid=$pid, | grep -o '127.0.0.1:[0-9]*'"
        )
        listed = triton.run(
            "login",
            f"for i in $(seq {PATIENCE * 5}); do found=$({look}); [ $(echo $found | wc "
            "-w) -ge 5 ] && break; sleep 0.2; done; echo $found",
        ).stdout
        read = [
            f"{PATHS.jupyter_env}/bin/python",
            "-c",
            READS,
            *(address.rpartition(":")[2] for address in listed.split()),
        ]
        assert triton.run("login", shlex.join(read), triton.account()).stdout == "read\n"
    finally:
        triton.run("login", f"kill {number}", user, check=False)
        running.communicate(timeout=60)


@pytest.mark.claims(
    "Not ``!module load`` in a cell: that line runs in a shell of its own, which ends "
    "with the line and takes the module "
    "with it."
)
@pytest.mark.claims(
    "``!module load`` in a cell does nothing for you.",
    "Each line with ``!`` runs in a shell of its own, which ends with the line.",
)
def test_module_load_in_a_cell_ends_with_its_line(server):
    kernel = server.kernel()
    assert kernel.execute(f"!module load {MODULES.demo}")["status"] == "ok"
    assert "DEMO_GREETING" not in environment(kernel)
    assert kernel.prints("!echo [$DEMO_GREETING]") == "[]"
    first, second = kernel.prints("!echo $$\n!echo $$").split()
    assert first != second and kernel.prints(f"!ps -p {first},{second} --no-headers") == ""


@pytest.mark.claims(
    "The R kernel is started without a shell, so your ``.bashrc`` is not read.",
    "Settings belong in ``~/.Rprofile``, or in the ``env`` block of a kernel of your own.",
)
@pytest.mark.claims(
    "An R kernel starts without a shell and does not read `.bashrc`; put settings into "
    "`~/.Rprofile`,"
)
def test_the_r_kernel_reads_your_rprofile_and_not_your_bashrc(triton, user, server, claim):
    [(not_read, read, *_)] = map(literals, claim)
    assert not_read == ".bashrc"
    triton.run(
        "login",
        "cp .bashrc bashrc-kept; { echo 'export FROM_BASHRC=1; touch ~/bashrc-was-read'; "
        "cat bashrc-kept; } > .bashrc; "
        f"echo 'Sys.setenv(FROM_RPROFILE = 1)' > {read}; rm -f bashrc-was-read",
        user,
    )
    # the shell of that command has read .bashrc
    triton.run("login", "rm bashrc-was-read", user, check=False)
    try:
        kernel = server.kernel("ir")
        assert (
            kernel.prints(
                "cat(Sys.getenv('FROM_RPROFILE'), file.exists('~/bashrc-was-read'), "
                "Sys.getenv('FROM_BASHRC', 'unset'))"
            )
            == "1 FALSE unset"
        )
        everyones = json.loads(triton.run("login", f"cat {PATHS.r_kernel}", user).stdout)
        make_kernel(triton, user, "my-r", {"FROM_ENV": "1"}, argv=everyones["argv"], language="R")
        assert server.kernel("my-r").prints("cat(Sys.getenv('FROM_ENV'))") == "1"
    finally:
        triton.run("login", f"mv bashrc-kept .bashrc; rm -f {read} bashrc-was-read", user)


@pytest.mark.claims(
    "Install packages from R in a terminal, with ``install.packages``: it asks "
    "questions, and a notebook cannot answer them."
)
def test_r_asks_before_it_makes_a_library_in_a_terminal_only(triton, user, server):
    """In a notebook, R cannot ask."""
    install = "install.packages('nothing', repos = 'file:///nowhere')"
    answered = (
        f'module load {MODULES.r}; printf "{install}\\nno\\n" | R --quiet --interactive '
        "--no-save 2>&1"
    )
    output = triton.run("login", answered, user).stdout
    assert "Would you like to use a personal library instead?" in output, output
    reply = server.kernel("ir").execute(install)
    assert (
        reply["status"] == "error"
        and "unable to install packages" in reply["error"]
        and "Would you like" not in str(reply)
    )


@pytest.mark.claims(
    "Do not mend it with ``pip install --user``: that reaches into every Python of the "
    "same version,"
)
def test_user_installs_are_for_every_python_of_the_version(triton, user):
    """pip install --user is for every Python of the same version."""
    pythons = [f"pythons/{name}/bin/python" for name in ("one", "two")]
    make = "python3 -m venv --system-site-packages"
    triton.run("login", f"{make} pythons/one; {make} --without-pip pythons/two", user)
    for there, first in (
        (False, "true"),
        (True, f"{pythons[0]} -m pip install --quiet --user --no-deps fqdn"),
    ):
        completed = triton.run(
            "login", f"{first}; {pythons[1]} -c 'import fqdn'", user, check=False
        )
        assert there == (not completed.returncode), completed.stderr
    triton.run("login", f"{pythons[0]} -m pip uninstall --quiet --yes fqdn; rm -r pythons", user)


# ---------------------------------------------------------------- files and modules


@pytest.mark.claims(
    "All but ``/tmp`` are the same on the login node, on every compute node and in Jupyter.",
    "``/tmp`` belongs to one node.",
    "the node's; no other node sees them",
)
def test_all_filesystems_but_tmp_are_shared(triton, user, server):
    """The filesystems are the same on login and compute nodes."""
    triton.run(
        "login",
        f"mkdir -p $WRKDIR; echo here | tee ~/mark {PATHS.scratch}/work/{user}/mark "
        f"/tmp/mark-{user} >/dev/null",
        user,
    )
    look = (
        f"srun cat {PATHS.home}/{user}/mark $WRKDIR/mark "
        f"{PATHS.apps}/modulefiles/{MODULES.demo}.lua /tmp/mark-{user}"
    )
    completed = triton.run("login", look, user, check=False)
    demo = triton.run("login", f"cat {PATHS.apps}/modulefiles/{MODULES.demo}.lua", user).stdout
    assert (
        completed.stdout == "here\nhere\n" + demo
        and f"/tmp/mark-{user}: No such file" in completed.stderr
    )
    places = (
        f"~/mark $WRKDIR/mark {PATHS.scratch}/work/{user}/mark "
        f"{PATHS.apps}/modulefiles/{MODULES.demo}.lua"
    )
    everywhere = triton.run(
        "login",
        f"srun --nodes={len(triton.nodes)} bash -c 'hostname; ls {places} "
        f"/tmp/mark-{user} 2>/dev/null | wc -l'",
        user,
        check=False,
    ).stdout.split()
    assert sorted(everywhere) == sorted(
        [*(f"{node}.{HOSTS.domain}" for node in triton.nodes), *["4"] * len(triton.nodes)]
    )
    assert server.first.prints(f"!ls {places} /tmp/mark-{user} 2>/dev/null | wc -l") == "4", (
        "Jupyter misses a file"
    )
    # In the other direction, a job's files are on the login node, but not those in its /tmp.
    triton.run(
        "login", f"srun bash -c 'hostname | tee ~/mark $WRKDIR/mark /tmp/from-job-{user}'", user
    )
    written = triton.run(
        "login",
        f"cat ~/mark $WRKDIR/mark; ls /tmp/from-job-{user}; rm -f ~/mark $WRKDIR/mark "
        f"/tmp/mark-{user}",
        user,
        check=False,
    )
    assert written.stdout.count(HOSTS.domain) == 2 and "No such file" in written.stderr


@pytest.mark.claims(
    "``cd`` alone leads home again.", "The variable ``WRKDIR`` holds your own folder there:"
)
def test_wrkdir_is_your_own_folder_everywhere(triton, user):
    for command in ("echo $WRKDIR", "srun bash -c 'echo $WRKDIR'"):
        assert triton.run("login", command, user).stdout.strip() == f"{PATHS.work}/{user}"
    assert triton.run("login", "cd $WRKDIR; pwd; cd; pwd", user).stdout.split() == [
        f"{PATHS.work}/{user}",
        f"{PATHS.home}/{user}",
    ]
    assert (
        triton.run(
            "login", "stat --format=%U $WRKDIR; touch $WRKDIR/x && rm $WRKDIR/x", user
        ).stdout.strip()
        == user
    )


@pytest.mark.claims(
    "``{{ paths.apps }}`` - software for everyone, behind the :doc:`modules <modules>` - read-only"
)
def test_the_software_for_everyone_is_read_only(triton, user):
    for command in (f"touch {PATHS.apps}/x", f"srun touch {PATHS.apps}/x"):
        completed = triton.run("login", command, user, check=False)
        assert completed.returncode and "Read-only file system" in completed.stderr


@pytest.mark.claims(
    "``{{ paths.home }}``, your ``$HOME``",
    "``{{ paths.work }}``, your ``$WRKDIR``",
    "Your files begin in your home directory,",
)
def test_the_table_of_storage_names_folders_that_are_there(triton, user):
    table = (
        {literals(row[0])[0]: row for row in rows("triton/tut/storage.rst", "Storage")}
        if "Storage" in pages.read("triton/tut/storage.rst")
        else {}
    )
    assert set(table) == {PATHS.home, PATHS.work, PATHS.scratch, PATHS.apps, "/tmp"}
    triton.run("login", "ls -d " + " ".join(table), user)
    triton.run(
        "login",
        f"[ $PWD = {PATHS.home}/{user} ] && [ $HOME = $PWD ] && [ $WRKDIR = {PATHS.work}/{user} ]",
        user,
    )


@pytest.mark.claims("``~/.local/share/Trash`` - files that you deleted in JupyterLab; remove it")
def test_what_is_deleted_in_jupyterlab_fills_the_trash(triton, user, server):
    """The deleted file takes as much room in the trash."""
    triton.run("login", "head -c 2M /dev/zero > unwanted", user)
    server.talk("ask", "/api/contents/unwanted", None, "DELETE")
    [trash] = [
        literals(what)[0]
        for what, to_do in rows("triton/tut/storage.rst", "storage-full")
        if "deleted" in to_do
    ]
    assert (
        int(
            triton.run(
                "login", f"! ls unwanted 2>/dev/null && du -sk {trash} && rm -r {trash}", user
            ).stdout.split()[0]
        )
        >= 2048
    )


@pytest.mark.claims("The biggest stand last, hidden folders included.")
def test_the_biggest_stand_last_in_the_list_of_what_fills_a_home(triton, user):
    command = next(
        command.text
        for block in pages.blocks("triton/tut/storage.rst")
        for command in block.commands
        if "sort" in command.text
    )
    triton.run(
        "login",
        "head -c 900K /dev/zero > less; head -c 2M /dev/zero > more; mkdir .hidden; head "
        "-c 3M /dev/zero > .hidden/most",
        user,
    )
    listed = triton.run("login", f"{command}; rm -r less more .hidden", user).stdout
    sizes = [
        float(size.rstrip("KMG")) * {"K": 1, "M": 1024, "G": 1024**2}.get(size[-1], 0)
        for size in re.findall(r"^\S+", listed, re.MULTILINE)
    ]
    assert (
        sizes == sorted(sizes)
        and "/.hidden\n" in listed
        and {"/less", "/more"} <= set(re.findall(r"/\w+$", listed, re.MULTILINE))
    ), listed


@pytest.mark.claims(
    "It lasts until you log out, in this one shell.",
    "``module purge`` unloads all.",
    "A module sets variables, ``PATH`` first of all, so that the shell finds the programs.",
    "Software is installed, but hidden until you load it:",
)
@pytest.mark.claims("``python`` is also the folder of its environment in ``apps``.")
def test_a_module_lasts_in_one_shell_until_purge_or_exit(triton, user):
    loaded = (
        f"module load {MODULES.demo} {MODULES.python}; (echo 1$DEMO_GREETING; which "
        "python3); module purge; echo 2$DEMO_GREETING; which python3; module list 2>&1"
    )
    lines = triton.run("login", f"which python3; {loaded}", user).stdout.split("\n")
    hidden, greeting, python, no_greeting, hidden_again, *no_module = lines
    assert (
        len(greeting) > 1
        and no_greeting == "2"
        and hidden == hidden_again
        and "No modules loaded" in " ".join(no_module)
    )
    assert python == f"{PATHS.apps}/{MODULES.python}/bin/python3" != hidden
    assert triton.run("login", "echo 3$DEMO_GREETING", user).stdout.strip() == "3"


@pytest.mark.claims(
    "``module avail`` lists what you can load now. ``module spider`` searches "
    "everything, and says what has to be loaded first.",
    "To see what a module would do, without doing it:",
    "A long list stops at each page: the space bar goes on, ``q`` ends it.",
)
def test_avail_spider_and_show_find_modules_and_load_none(triton, user):
    """`avail` lists the modules that can be loaded now, `spider` finds the others.

    One module can only be loaded after another. A list is longer than the screen.
    """
    triton.run(
        "login",
        "mkdir -p modules/core/compiler modules/behind/solver; echo "
        '\'prepend_path("MODULEPATH", os.getenv("HOME") .. "/modules/behind")\' '
        "> modules/core/compiler/1.lua; touch modules/behind/solver/1.lua",
        user,
    )
    outputs = {
        command: triton.run(
            "login", f"module use ~/modules/core; module {command} 2>&1", user
        ).stdout
        for command in ("avail", "spider solver", "spider solver/1", f"show {MODULES.demo}")
    }
    assert (
        MODULES.demo in outputs["avail"]
        and "compiler/1" in outputs["avail"]
        and "solver" not in outputs["avail"]
    )
    assert "solver/1" in outputs["spider solver"] and re.search(
        r"need to load [^$]*\n\s+compiler/1\n", outputs["spider solver/1"]
    ), outputs["spider solver/1"]
    assert "DEMO_GREETING" in outputs[f"show {MODULES.demo}"]
    assert (
        triton.run(
            "login", f"module show {MODULES.demo}; echo [$DEMO_GREETING]; rm -r modules", user
        ).stdout.strip()
        == "[]"
    )
    with closing(Terminal(triton, "login", user, PROMPTS)) as terminal:
        terminal.type("unset LMOD_PAGER PAGER; export TERM=xterm; stty rows 4")
        for keys in (" q", "q"):
            terminal.screen.sendline("module spider")
            for key in keys:
                terminal.screen.expect(
                    r"[-:\w] ?\x1b\[[0-9;?]*[A-Za-z]$|lines? \d+-\d+\S*", timeout=PATIENCE
                )
                terminal.screen.send(key)
            terminal._wait(PATIENCE)


@pytest.mark.claims("There they change every shell, the one that starts your Jupyter too,")
def test_a_module_in_bashrc_changes_shells_and_servers(triton, user):
    """The module is loaded in every shell, and in the server that starts from it."""
    triton.run(
        "login",
        f"cp .bashrc bashrc-kept; {{ echo 'module load {MODULES.demo}'; cat "
        f"bashrc-kept; }} > with-module; cp with-module .bashrc",
        user,
    )
    try:
        with closing(Terminal(triton, "login", user, PROMPTS)) as terminal:
            assert terminal.type("srun printenv DEMO_GREETING")[1] == 0
    finally:
        triton.run("login", "mv bashrc-kept .bashrc; rm with-module", user)


# ---------------------------------------------------------------- jobs


@pytest.mark.claims(
    "Slurm keeps a copy of the script when you hand it in: you may edit yours at once. "
    "The programs that it calls are read when "
    "they run."
)
def test_slurm_copies_the_script_but_not_its_programs(triton, user):
    """The job reads the script's programs when it runs them."""
    triton.write("login", "~/program", "#!/bin/bash\necho old program\n", user, "755")
    job = submit(
        triton,
        user,
        "#SBATCH --output=copied --time=1\necho old script\n./program",
        "--hold --mem=50M",
        "copied.sh",
    )
    triton.write("login", "~/copied.sh", "#!/bin/bash\necho new script\n", user)
    triton.write("login", "~/program", "#!/bin/bash\necho new program\n", user, "755")
    triton.run("login", f"scontrol release {job}", user)
    ended(triton, user, job)
    assert triton.run("login", "cat copied", user).stdout == "old script\nnew program\n"


@pytest.mark.claims(
    "They stand above the first command; further down they are not read.",
    "An option on the command line wins over the same one in the script:",
)
@pytest.mark.claims(
    "**Often:** a space before `#SBATCH`, or a line of code above it. Slurm does not "
    "read such a line, and says nothing."
)
def test_the_command_line_wins_over_the_script(triton, user):
    """Slurm does not read options below the first command."""
    script = (
        "#SBATCH --time=7 --mem=50M\n#SBATCH --comment=above\n# a remark is no command\n"
        "#SBATCH --job-name=above\ntrue\n#SBATCH --job-name=below --mem=60M\n"
    )
    for line in (
        " #SBATCH --job-name=no",
        "true\n#SBATCH --job-name=no",
    ):  # the line has a space before it, or is below a line of code
        triton.write(
            "login", "~/spaced.sh", f"#!/bin/bash\n#SBATCH --mem=50M --hold\n{line}\n", user
        )
        completed = triton.run("login", "sbatch --parsable spaced.sh", user)
        assert (
            "JobName=spaced.sh"
            in triton.run(
                "login",
                f"scontrol show job {completed.stdout.strip()}; scancel {completed.stdout.strip()}",
                user,
            ).stdout
            and not completed.stderr
        )
    for options, minutes in (("", "00:07:00"), ("--time=00:10:00", "00:10:00")):
        job = submit(triton, user, script, f"--hold {options}", "options.sh")
        details = triton.run("login", f"scontrol show job {job}; scancel {job}", user).stdout
        assert (
            f"TimeLimit={minutes}" in details
            and "JobName=above" in details
            and "50M" in details
            and "60M" not in details
        )


@pytest.mark.claims(
    "The job starts in the folder where you handed it in.",
    "Without ``--output`` the file is called ``slurm-``, the number, ``.out``.",
)
def test_a_job_starts_and_writes_where_it_was_handed_in(triton, user):
    triton.run("login", "mkdir -p $WRKDIR/place; rm -f $WRKDIR/place/*", user)
    triton.write("login", "~/place.sh", "#!/bin/bash\npwd\necho trouble >&2\n", user)
    job = triton.run(
        "login", "cd $WRKDIR/place; sbatch --parsable --mem=50M ~/place.sh", user
    ).stdout.strip()
    ended(triton, user, job)
    assert (
        triton.run("login", f"cat $WRKDIR/place/slurm-{job}.out", user).stdout
        == f"{PATHS.work}/{user}/place\ntrouble\n"
    )


@pytest.mark.claims(
    "``--wait`` comes back when the job has ended,",
    "You get a number, and the job no longer needs you:",
    "It waits (``PD``), runs (``R``), and is gone from the list when it has ended. "
    "Errors stand in ``analysis.out`` too.",
    "``scancel`` with the number stops it.",
)
def test_a_job_waits_runs_and_is_gone(triton, user):
    triton.write("login", "~/goes.sh", "#!/bin/bash\nls nothing\nsleep 60\n", user)
    job = re.search(
        r"\d+$",
        triton.run(
            "login", "sbatch --hold --mem=50M --time=5 --output=goes.out goes.sh", user
        ).stdout.strip(),
    )[0]
    letter = f"squeue --me --noheader --jobs={job} --format=%t"
    assert triton.run("login", letter, user).stdout.strip() == "PD"
    triton.run("login", f"scontrol release {job}", user)
    wait_until(triton, user, f'[ "$({letter})" = R ]')
    wait_until(triton, user, "grep -q nothing goes.out")
    triton.run("login", f"scancel {job}", user)
    ended(triton, user, job)
    assert (
        state(triton, user, job)[0].startswith("CANCELLED")
        and job not in triton.run("login", "squeue --me", user).stdout
    )
    waited = (
        "sbatch --quiet --wait --mem=50M --output=waited.out --wrap 'sleep 3; echo over'; "
        "cat waited.out"
    )
    assert triton.run("login", waited, user).stdout == "over\n"


def options_of_the_shown_script():
    """The Slurm options of the page's script, whose parts have the order of the text."""
    lines = pages.read("triton/tut/analysis.sh").splitlines()
    kinds = [
        next(
            (
                kind
                for kind in ("#!/bin/bash", "#SBATCH", "module", "python3")
                if line.startswith(kind)
            ),
            "",
        )
        for line in lines
    ]
    assert [kind for kind, _ in itertools.groupby(filter(None, kinds))] == [
        "#!/bin/bash",
        "#SBATCH",
        "module",
        "python3",
    ]
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert [option.split("=")[0] for option in options] == [
        "--partition",
        "--time",
        "--mem",
        "--output",
    ]
    return options


@pytest.mark.claims(
    "``srun`` and what you need in front of a command, and it runs on a compute node:",
    "You see what it prints, as if it ran here. ``srun`` may say first that the job is "
    "``queued and waiting for resources``.",
    "``-p {{ partitions.interactive }}`` - the partition: a group of nodes,",
    "``-c 2`` - processor cores,",
    "The lines with ``#SBATCH`` are options for Slurm, the same that ``srun`` takes: the "
    "partition, the longest time, the "
    "memory, the file for what it prints.",
)
@pytest.mark.claims("Then come the modules, then the work.", "It is a shell script.")
def test_srun_runs_a_command_on_a_compute_node(triton, user):
    """The job has the resources that srun requests."""
    ask = f"srun -p {PARTITIONS.interactive} --time=00:05:00 --mem=100M"
    assert re.fullmatch(
        rf"\w+\.{re.escape(HOSTS.domain)}\n", triton.run("login", f"{ask} hostname", user).stdout
    )
    details = triton.run(
        "login", f"{ask} -c 2 bash -c 'scontrol show job $SLURM_JOB_ID'", user
    ).stdout
    assert (
        f"Partition={PARTITIONS.interactive} " in details
        and "TimeLimit=00:05:00" in details
        and "MinMemoryNode=100M" in details
        and "CPUs/Task=2" in details
    ), details
    nodes = triton.run(
        "login", f"sinfo --noheader --partition={PARTITIONS.interactive} --format=%D", user
    ).stdout
    assert int(nodes) == len(triton.nodes) > 1
    script = options_of_the_shown_script()
    triton.run(
        "login",
        f"srun {' '.join(script)} echo the same; grep -qx 'the same' analysis.out; rm analysis.out",
        user,
    )
    busy = submit(triton, user, "sleep 60", "--exclusive --mem=50M --time=5 --output=/dev/null")
    state(triton, user, busy, "RUNNING")
    node = triton.run("login", f"squeue --noheader --jobs={busy} --format=%N", user).stdout.strip()
    waits = (
        f"{ask} --nodelist={node} echo printed > srun.out 2>&1 & for i in $(seq "
        f"{PATIENCE * 5}); do grep -q resources srun.out && exit; sleep 0.2; done; exit 1"
    )
    triton.run("login", waits, user)
    triton.run("login", f"scancel {busy}", user)
    wait_until(triton, user, "grep -qx printed srun.out")
    output = triton.run("login", "cat srun.out", user).stdout
    assert output.index("queued and waiting for resources") < output.index("printed\n")


@pytest.mark.claims(
    "The prompt changes. You are on another machine, with the same files:",
    "``exit`` gives back what you reserved. Until then it is yours, typing or not.",
)
def test_a_shell_on_a_node_is_reserved_until_exit(triton, user):
    with closing(
        Terminal(triton, "login", user, PROMPTS | {node: node for node in triton.nodes})
    ) as terminal:
        terminal.type("touch of-mine")
        terminal.type(
            f"srun -p {PARTITIONS.interactive} --time=00:05:00 --mem=100M "
            "--job-name=shell --pty bash"
        )
        node = terminal.host
        assert node in triton.nodes and terminal.type("hostname; rm of-mine") == (
            [f"{node}.{HOSTS.domain}"],
            0,
        )
        listed = triton.run(
            "login", "sleep 5; squeue --me --noheader --name=shell --format='%i %t %N'", user
        ).stdout.split()
        assert listed[1:] == ["R", node]
        terminal.type("exit")
        assert terminal.host == "login"
        ended(triton, user, listed[0])


@pytest.mark.claims(
    "``--array=0-2`` makes three tasks, numbered 0, 1 and 2.",
    "``SLURM_ARRAY_TASK_ID`` holds the number of the task.",
    "``%a`` in the name of the output is the same number, so that tasks do not write "
    "into one file.",
)
@pytest.mark.parametrize(
    ("name", "out", "printed"),
    [
        ("triton/tut/analysis.sh", "analysis.out", "499500\n"),
        (
            "triton/tut/array.sh",
            "array_0.out array_1.out array_2.out",
            "Task 0 of 3: Helsinki\nTask 1 of 3: Oulu\nTask 2 of 3: Utsjoki\n",
        ),
    ],
)
@pytest.mark.claims(
    "A job array runs the same script once for each number, which it finds in "
    "`SLURM_ARRAY_TASK_ID`.",
    "in `--output` of `#SBATCH`, `%a` is the number.",
    "The same program with many inputs is one job with many tasks.",
)
def test_the_shown_scripts_do_their_work(triton, user, name, out, printed):
    triton.write("login", "~/shown.sh", pages.read(name), user)
    job = triton.run("login", f"rm -f {out}; sbatch --parsable shown.sh", user).stdout.strip()
    asks_for_little(triton, user, name, job)
    ended(triton, user, job)
    output = triton.run("login", f"cat {out}", user, check=False).stdout
    assert output == printed, f"{name}:{len(pages.read(name).splitlines())}: it prints {output!r}"


def asks_for_little(triton, user, name, job):
    """Assert that the script requests each resource and that its job has it, though the partition
    is the default one.
    """
    details, lines = (
        triton.run("login", f"scontrol show job {job}", user).stdout,
        pages.read(name).splitlines(),
    )
    for option, has in (
        ("partition", f"Partition={PARTITIONS.batch}"),
        ("time", "TimeLimit=00:05:00"),
        ("mem", "MinMemoryNode=100M"),
    ):
        numbers = [
            number
            for number, line in enumerate(lines, 1)
            if line.startswith(f"#SBATCH --{option}=")
        ]
        assert numbers and has in details, (
            f"{name}:{(numbers or [1])[0]}: the job has not {has}: {details}"
        )


def test_the_shown_script_has_its_own_module_alone(triton, user):
    """Modules that were loaded at submission are not in the job."""
    triton.write(
        "login",
        "~/modules.sh",
        pages.read("triton/tut/analysis.sh") + "\necho $LOADEDMODULES\n",
        user,
    )
    job = triton.run(
        "login", f"module load {MODULES.demo}; sbatch --parsable modules.sh", user
    ).stdout.strip()
    ended(triton, user, job)
    output = triton.run("login", "cat analysis.out", user).stdout
    assert output == f"499500\n{MODULES.python}\n", (
        f"triton/tut/analysis.sh:8: it prints {output!r}"
    )


@pytest.mark.claims(
    "``bash analysis.sh`` runs it here and now, on the login node, as a quick test for mistakes."
)
def test_the_script_runs_by_hand_too(triton, user):
    triton.write("login", "~/analysis.sh", pages.read("triton/tut/analysis.sh"), user)
    assert (
        triton.run(
            "login",
            "rm -f analysis.out; bash analysis.sh; ls analysis.out 2>/dev/null",
            user,
            check=False,
        ).stdout
        == "499500\n"
    ), "the output is in a file, not on the screen"
    assert (
        triton.run(
            "login", "echo hostname >> analysis.sh; bash analysis.sh; rm analysis.sh", user
        ).stdout
        == f"499500\n{HOSTS.login}\n"
    )


@pytest.mark.claims("Takes 50 MB and holds them for two minutes.")
@pytest.mark.claims(
    "``--parsable`` prints the bare number of the job, and ``$job`` keeps it for the "
    "commands below.",
    "``scontrol`` knows everything about a job that waits or runs: its folder, its "
    "files, its node. ``sstat`` shows what it has "
    "taken up to now; give it some seconds to measure something.",
)
def test_the_shown_memory_script_holds_what_it_says(triton, user):
    triton.write("login", "~/memory.sh", pages.read("triton/tut/memory.sh"), user)
    job = triton.run("login", "job=$(sbatch --parsable memory.sh); echo $job", user).stdout.strip()
    assert job.isdigit(), "--parsable does not print the bare number"
    asks_for_little(triton, user, "triton/tut/memory.sh", job)
    assert "/memory.out\n" in triton.run("login", f"scontrol show job {job}", user).stdout, (
        "triton/tut/memory.sh"
    )
    try:
        for _ in range(PATIENCE):
            output = triton.run(
                "login",
                f"sstat --allsteps --noheader --parsable2 --jobs={job} --format=JobID,MaxRSS",
                user,
                check=False,
            ).stdout
            held = int(re.search(r"batch\|(\d+)K", output)[1]) if "K" in output else 0
            if held > 50_000:
                break
            time.sleep(0.5)
        assert 50_000 < held < 100_000, output
        waits = submit(triton, user, "true", "--hold --mem=50M", "waits.sh")
        for number, out in ((job, "memory.out"), (waits, f"slurm-{waits}.out")):
            output = triton.run("login", f"scontrol show job {number}", user).stdout
            home = f"{PATHS.home}/{user}"
            assert (
                f"JobId={number} " in output
                and f"WorkDir={home}\n" in output
                and f"StdOut={home}/{out}\n" in output
            ), output
            assert bool(
                re.search(
                    rf"^   NodeList={HOSTS.node.rstrip('0123456789')}\d+$", output, re.MULTILINE
                )
            ) == (number == job)
        triton.run("login", f"scancel {waits}", user)
    finally:
        triton.run("login", f"scancel {job}", user)


def assert_so_many_run_at_a_time(triton, user):
    """Assert that as many tasks run at once as the page says of its example."""
    few, number = re.search(
        r"``(--array=\S+)`` runs (\w+) at a time", pages.read("triton/tut/array.rst")
    ).groups()
    details = triton.run(
        "login",
        f"job=$(sbatch --parsable --hold --mem=50M {few} --wrap true); scontrol show job "
        "$job; scancel $job",
        user,
    ).stdout
    assert f"ArrayTaskThrottle={NUMBERS[number]}\n" in details.replace(" ", "\n"), (
        "triton/tut/array.rst: another number of tasks at once"
    )


@pytest.mark.claims(
    "Each is a job of its own, with its own time and memory, and they run side by side "
    "as far as there is room.",
    "In ``squeue --me`` a task is the number of the job, ``_`` and its own number. "
    "``scancel`` takes that, or the number of the "
    "job for all.",
    "``--array=0-999%50`` runs fifty at a time, and leaves room for others.",
    "afterwards those that failed, by their numbers: ``--array=2,5``.",
)
@pytest.mark.claims("and which numbers it has: `--array=1-9` would be one to nine.")
def test_tasks_of_an_array_have_numbers_and_are_cancelled(triton, user):
    """They can be cancelled one by one or together."""
    job = submit(
        triton,
        user,
        "#SBATCH --array=2,5,7%1 --mem=50M --time=5 --output=/dev/null\nsleep 60",
        name="tasks.sh",
    )
    for _ in range(PATIENCE * 2):
        listed = triton.run(
            "login", f"squeue --array --noheader --jobs={job} --format='%i %t'", user
        ).stdout.split("\n")
        if f"{job}_2 R" in listed:
            break
        time.sleep(0.1)
    assert sorted(filter(None, listed)) == [f"{job}_2 R", f"{job}_5 PD", f"{job}_7 PD"], (
        "more than one task runs at a time"
    )
    triton.run("login", f"scancel {job}_5", user)
    nine = triton.run(
        "login",
        "job=$(sbatch --parsable --hold --array=1-9 --mem=50M --wrap true); squeue "
        "--array --noheader --jobs=$job --format=%K; scancel $job",
        user,
    )
    assert sorted(map(int, nine.stdout.split())) == list(range(1, 10))
    assert_so_many_run_at_a_time(triton, user)
    listed = triton.run(
        "login", f"squeue --array --noheader --jobs={job} --format=%i", user
    ).stdout.split()
    assert f"{job}_5" not in listed and f"{job}_7" in listed
    triton.run("login", f"scancel {job}", user)
    ended(triton, user, job)
    beside = submit(
        triton,
        user,
        "#SBATCH --array=0-2 --mem=50M --time=5 --output=/dev/null\nsleep 60",
        name="tasks.sh",
    )
    count = f"squeue --noheader --jobs={beside} --states=RUNNING | wc -l"
    wait_until(triton, user, f"[ $({count}) = 3 ]")
    details = triton.run("login", f"scontrol show job {beside}; scancel {beside}", user).stdout
    assert (
        len(set(re.findall(r"JobId=(\d+)", details)))
        == details.count("TimeLimit=00:05:00")
        == details.count("MinMemoryNode=50M")
        == 3
    )


@pytest.mark.claims("``--time=00:05:00`` - the longest it may take: hours, minutes, seconds")
def test_a_time_is_written_as_the_table_of_options_says(triton, user):
    [parts] = [
        literals(option) and re.findall(r"(day|hour|minute|second)s", means)
        for option, means in rows("triton/tut/interactive.rst", "Interactive jobs")
        if "--time" in option
    ]
    job = submit(triton, user, "true", "--hold --time=01:02:00 --mem=50M", "clock.sh")
    limit = f"sacct --noheader --jobs={job} --format=TimelimitRaw"
    wait_until(triton, user, f"{limit} | grep -q .")
    minutes = triton.run("login", f"{limit}; scancel {job}", user).stdout
    assert int(minutes) * 60 == sum(
        count * UNITS[part] for count, part in zip((1, 2, 0), parts, strict=True)
    ), "triton/tut/interactive.rst"


# The tables in monitoring.rst list reasons to wait and states of jobs.

NOT_HERE = {
    "QOSMaxJobsPerUserLimit": "only the cluster of a test in test_cluster.py "
    "limits the number of jobs"
}


def reasons(triton, user, wanted, seconds=PATIENCE):
    """The reasons why the user's jobs wait, collected until all of `wanted` are among them, or for
    `seconds`.
    """
    names = set()
    for _ in range(seconds * 2):
        names |= set(
            re.split(
                r"[\s,]+",
                triton.run(
                    "login", "squeue --me --noheader --states=PENDING --Format=Reason:60", user
                ).stdout,
            )
        ) - {""}
        if wanted - set(NOT_HERE) <= names:
            break
        time.sleep(0.5)
    return names


def reason(triton, user, job):
    """The reason why this job waits, as squeue prints it."""
    return triton.run(
        "login", f"squeue --noheader --jobs={job} --states=PENDING --Format=Reason:60", user
    ).stdout.strip()


def submit_jobs_that_wait(triton, user, last):
    """Submit jobs that wait; return their numbers.

    They wait for a maintenance of the node `last` (with a second job, short enough to run before
    it), for the partition's time limit, for other tasks of an array, and for another job.
    """
    sleep = "sleep 60"
    # The job would run into the maintenance; a job with less time runs before it.
    kept = submit(
        triton,
        user,
        sleep,
        f"--nodelist={last} --time=60 --mem=50M --output=/dev/null",
        "kept.sh",
    )
    short = submit(
        triton,
        user,
        "true",
        f"--nodelist={last} --time=1 --mem=50M --output=/dev/null",
        "short.sh",
    )
    ended(triton, user, short)
    never = submit(triton, user, sleep, "--time=6-0 --mem=50M", "never.sh")
    array = submit(
        triton, user, sleep, "--array=0-3%1 --mem=50M --time=5 --output=/dev/null", "array%1.sh"
    )
    later = submit(triton, user, sleep, f"--dependency=afterok:{array} --mem=50M", "later.sh")
    return kept, short, never, array, later


def assert_no_start_is_expected(triton, user, never):
    """Assert that Slurm expects no start of the job `never`."""
    columns, *lines = [
        line.split()
        for line in triton.run("login", "squeue --me --start", user).stdout.splitlines()
    ]
    assert columns[-1] == "NODELIST(REASON)" and "START_TIME" in columns[:-1]
    guess = columns.index("START_TIME")
    assert {line[guess] for line in lines if line[0] == never} == {"N/A"}, lines
    assert "StartTime=Unknown" in triton.run("login", f"scontrol show job {never}", user).stdout


@pytest.mark.claims(
    "What asks for less starts sooner.",
    "a job that wants less starts sooner,",
    "The reason stands in the last column, and Slurm's guess of the start before it. "
    "``N/A`` means that it has not made one.",
    "``Priority`` - others are before you; wait",
    "``Resources`` - you are next, and what you ask for is not free yet; less would be free sooner",
    "``JobArrayTaskLimit`` - your ``%`` in ``--array`` is reached",
    "``ReqNodeNotAvail`` - often a maintenance that begins before your time would be up; "
    "ask for less time",
    "``PartitionTimeLimit`` - more time than the partition allows; it will never start",
    "``Dependency`` - it waits for another job, as you said",
)
def test_each_reason_to_wait_that_the_table_names_can_be_seen(triton, user):
    named = {literals(reason)[0] for reason, _ in rows("triton/tut/monitoring.rst", "pending")}
    sleep = "sleep 60"
    whole = (
        f"--partition={PARTITIONS.interactive} --nodes={len(triton.nodes)} --exclusive "
        "--mem=50M --time=5 --output=/dev/null"
    )
    last = sorted(triton.nodes)[-1]
    triton.run(
        "login",
        f"scontrol create reservation reservationname=maintenance-{user} "
        "starttime=now+10minutes duration=10 flags=maint "
        f"nodes={last} users=root",
    )
    try:
        kept, short, never, array, later = submit_jobs_that_wait(triton, user, last)
        shown = reasons(triton, user, named - {"Resources", "Priority"})
        reasons_of = {job: reason(triton, user, job) for job in (kept, never, array, later)}
        assert (
            "PartitionTimeLimit" in reasons_of[never]
            and "JobArrayTaskLimit" in reasons_of[array]
            and "Dependency" in reasons_of[later]
            and "ReqNodeNotAvail" in reasons_of[kept]
        ), reasons_of
        assert_no_start_is_expected(triton, user, never)
        triton.run("login", "scancel --me --state=PENDING", user)
        large = [
            submit(triton, user, sleep, whole, f"{name}.sh")
            for name in ("first", "second", "third")
        ]
        shown |= reasons(triton, user, {"Resources", "Priority"})
        waiting = [why for why in (reason(triton, user, job) for job in large) if why]
        assert waiting in (["Resources", "Priority"], ["Resources", "Priority", "Priority"]), (
            f"the next one, and those behind it: {waiting}"
        )
        less = submit(
            triton, user, "true", "--mem=50M --time=1 --output=/dev/null", "less.sh"
        )  # it needs only one node
        ended(triton, user, less)
        assert state(triton, user, less)[0] == "COMPLETED" and reason(triton, user, large[1])
        assert state(triton, user, short, "COMPLETED")[0] == "COMPLETED" and kept
        queue = triton.run("login", "squeue --format='%i %j %u %T %r %Q %N'", user).stdout
    finally:
        triton.run(
            "login",
            "scancel --me --state=PENDING; scancel --me --name=first.sh,array%1.sh,kept.sh",
            user,
        )
        triton.run("login", f"scontrol delete reservation=maintenance-{user}")
    assert named - shown == set(NOT_HERE), queue


@pytest.mark.claims(
    "What no node can give is refused at once: ``Requested node configuration is not available``."
)
def test_what_no_node_can_give_is_refused_at_once(triton, user):
    message = re.search(r"is refused at once: ``(.+?)``", pages.read("triton/tut/monitoring.rst"))[
        1
    ]
    for command in ("srun --mem=9000G hostname", "sbatch --mem=9000G --wrap hostname"):
        completed = triton.run("login", command, user, check=False)
        assert completed.returncode and message in completed.stderr


HOW_IT_ENDS = {
    "COMPLETED": ("false; true", "0:0"),
    "FAILED": ("echo why; exit 7", "7:0"),
    "OUT_OF_MEMORY": (
        "python3 -c 'held = bytearray(300_000_000); import time; time.sleep(60)'",
        "0:125",
    ),
    "CANCELLED": ("sleep 60", "0:0"),
    "NODE_FAIL": ("sleep 60", None),
}


@pytest.mark.claims(
    "``COMPLETED`` - its last command returned 0; look into the output all the same",
    "``FAILED`` - the program stopped with an error: the number before the colon in "
    "``ExitCode``. The output says why",
    "``OUT_OF_MEMORY`` - it took more than ``--mem``. The output says ``oom-kill`` or ``Killed``.",
    "``CANCELLED`` - you, or an administrator, stopped it",
    "``NODE_FAIL`` - the node broke, not your program; start it again",
    "``%20`` makes a column wide enough.",
)
def test_how_a_job_ended_is_as_the_table_says(triton, user, out_of_time):
    table = rows("triton/tut/monitoring.rst", "how-it-ended")
    named = [literals(name)[0] for name, _ in table]
    assert set(named) == {*HOW_IT_ENDS, "TIMEOUT"}
    last = sorted(triton.nodes)[-1]
    jobs = {}
    for name, (script, _) in HOW_IT_ENDS.items():
        where = f"--nodelist={last} --no-requeue" if name == "NODE_FAIL" else ""
        jobs[name] = submit(
            triton, user, script, f"--mem=50M --time=5 --output=out-{name} {where}", f"{name}.sh"
        )
    for name in ("CANCELLED", "NODE_FAIL"):
        assert state(triton, user, jobs[name], "RUNNING")[0] == "RUNNING"
    triton.run("login", f"scancel {jobs['CANCELLED']}", user)
    triton.run("login", f"scontrol update nodename={last} state=down reason=test")
    try:
        ends = {name: state(triton, user, job) for name, job in jobs.items()}
    finally:
        triton.run(
            "login", f"scontrol update nodename={last} state=resume", check=False
        )  # the node may have come back by itself
    by_cgroup = triton.memory == "cgroup"
    by_root = submit(triton, user, "sleep 60", "--mem=50M --output=/dev/null", "by-root.sh")
    triton.run("login", f"scancel {by_root}")
    assert state(triton, user, by_root, "CANCELLED")[0] == "CANCELLED by 0"
    width = {
        number: triton.run(
            "login",
            f"sacct --noheader --allocations --jobs={jobs['CANCELLED']} --format=State{number}",
            user,
        ).stdout.strip()
        for number in ("", "%20")
    }
    assert width == {
        "": "CANCELLED+",
        "%20": f"CANCELLED by {triton.run('login', 'id -u', user).stdout.strip()}",
    }
    for name, (_, code) in HOW_IT_ENDS.items():
        expected = "FAILED" if name == "OUT_OF_MEMORY" and not by_cgroup else name
        assert ends[name][0].startswith(expected), f"{name}: {ends[name]}"
        if code and expected == name:
            assert ends[name][1] == code
    assert triton.run("login", "cat out-FAILED", user).stdout == "why\n"
    output = triton.run("login", "cat out-OUT_OF_MEMORY", user).stdout
    promised = next(text for name, text in table if "OUT_OF_MEMORY" in name)
    oom, killed = literals(promised)[1:3]
    assert (oom in output or killed in output) if by_cgroup else "exceeded" in output.lower(), (
        output
    )
    triton.run(
        "login",
        f"until sinfo --noheader --nodes={last} --format=%t | grep -q idle; do sleep 0.2; done",
        timeout=PATIENCE,
    )


@pytest.mark.claims(
    "The first line is the job, the others are its steps: ``batch`` is the script, and "
    "each ``srun`` in it has a line. "
    "``MaxRSS``, the peak of the memory, stands at the steps; ``ReqMem`` is what you asked for.",
    "It takes a few seconds after the end until the last line is right.",
    "``Elapsed`` is the time, ``MaxRSS`` the memory;",
)
@pytest.mark.claims("After a job, Slurm tells the same: `MaxRSS`, the most memory that was in use")
def test_steps_have_the_peak_of_memory(triton, user):
    """The line of the job itself has the requested memory."""
    job = submit(
        triton,
        user,
        "python3 -c 'held = bytearray(60_000_000); import time; time.sleep(3)'; srun "
        "true; srun true",
        "--mem=150M --output=/dev/null",
        "peak.sh",
    )
    ended(triton, user, job)
    ask = (
        f"sacct --noheader --parsable2 --jobs={job} --units=M --format=JobID,ReqMem,MaxRSS,Elapsed"
    )
    for _ in range(
        100
        # The accounting receives the job and its steps one after the other.
    ):
        lines = [line.split("|") for line in triton.run("login", ask, user).stdout.splitlines()]
        if any(line[0] == f"{job}.batch" and line[2] for line in lines) and lines[0][1] == "150M":
            break
        time.sleep(0.2)
    assert lines[0][:3] == [job, "150M", ""] and [
        line[0] for line in lines[1:] if "extern" not in line[0]
    ] == [f"{job}.batch", f"{job}.0", f"{job}.1"]
    hours, minutes, seconds = map(int, lines[0][3].split(":"))
    assert 3 <= hours * 3600 + minutes * 60 + seconds < PATIENCE
    assert 60 < float(lines[1][2].rstrip("M")) < 150


@pytest.mark.claims(
    "Without ``--jobs`` you see today's jobs. For a week: ``sacct --starttime=now-7days``.",
    "A job of a few seconds, or one that was killed for its memory, may show far too little.",
    "of a job that took only seconds it says too little.",
)
def test_sacct_lists_todays_jobs_and_misses_short_peaks(triton, user):
    """sacct shows too little memory for a short job.

    No job is older than the cluster, so the test sets the dates of this one back by two days.
    """
    job = submit(
        triton,
        user,
        "python3 -c 'held = bytearray(300_000_000)'",
        "--mem=500M --output=/dev/null",
        "brief.sh",
    )
    ended(triton, user, job)
    wait_until(
        triton, user, f"sacct --noheader --jobs={job}.batch --format=State | grep -q COMPLETED"
    )
    peak = triton.run(
        "login", f"sacct --noheader --parsable2 --jobs={job}.batch --units=M --format=MaxRSS", user
    ).stdout.strip()
    assert float(peak.rstrip("M") or 0) < 300
    listed = "sacct --noheader --parsable2 --allocations --format=JobID"
    wait_until(triton, user, f"{listed} | grep -qx {job}")
    earlier = ", ".join(
        f"time_{what} = time_{what} - 172800" for what in ("submit", "eligible", "start", "end")
    )
    triton.run(
        "ctl",
        "mariadb slurm_acct --execute='update "
        f"{FACTS.cluster.name.lower()}_job_table set {earlier} where id_job = {job}'",
    )
    assert job not in triton.run("login", listed, user).stdout.split()
    assert job in triton.run("login", f"{listed} --starttime=now-7days", user).stdout.split()


@pytest.mark.claims("If your connection breaks, the shell ends, and so does what runs in it.")
def test_an_interactive_shell_ends_with_the_connection(triton, user):
    """The programs of the shell end too."""
    with Ssh(
        triton,
        "laptop",
        user,
        f"-tt {user}@{HOSTS.login} srun -p {PARTITIONS.interactive} --time=5 "
        "--mem=50M --job-name=broken --pty bash -c '\"hostname; sleep 77\"'",
    ) as ssh:
        ssh.waits_for(re.escape(HOSTS.domain))
        job, node = triton.run(
            "login", "squeue --me --noheader --name=broken --format='%i %N'", user
        ).stdout.split()
    ended(triton, user, job)
    assert "sleep 77" not in triton.run(node, f"ps -u {user} -o args", check=False).stdout


@pytest.mark.claims("Stop it; ``scancel --me`` stops all of yours:")
def test_scancel_me_stops_all_of_yours(triton):
    user = triton.account()
    jobs = [submit(triton, user, "sleep 600", "--mem=50M --output=/dev/null") for _ in range(2)]
    triton.run("login", "scancel --me", user)
    ended(triton, user, *jobs)
    assert {state(triton, user, job)[0].split()[0] for job in jobs} == {"CANCELLED"}


# ---------------------------------------------------------------- git


@pytest.mark.claims(
    "``--ours`` is your branch, ``--theirs`` the one that you merge; in a rebase it is "
    "the other way round."
)
def test_ours_and_theirs_change_places_in_a_rebase(triton, user, claim):
    """In a merge, they are as the page says."""
    [(ours, theirs, *_)] = map(literals, claim)
    branches = (
        "git init -q -b main; git config user.name x; git config user.email x@example.org; "
        "echo base > a; git add a; git commit -qm base; git switch -qc experiment; echo "
        "experiment > a; git commit -qam e; git switch -q main; echo mine > a; git "
        "commit -qam m; "
    )
    take = f"git checkout -q {ours} a; cat a; git checkout -q {theirs} a; cat a; "
    output = triton.run(
        "laptop",
        f"mkdir conflict; cd conflict; {branches} git merge -q experiment; {take} git "
        f"merge --abort; git rebase -q experiment; {take} cd; rm -rf conflict",
        user,
    )
    assert [line for line in output.stdout.splitlines() if line in ("mine", "experiment")] == [
        "mine",
        "experiment",
        "experiment",
        "mine",
    ]


@pytest.mark.claims(
    "what Jupyter and Python leave behind .ipynb_checkpoints/ __pycache__/ settings and "
    "passwords of one person .env big, "
    "and made or fetched again by a program data/raw/ results/"
)
def test_the_gitignore_hides_what_is_made_and_private(triton, user):
    """It hides files that programs make, and files of one person."""
    leave = (
        "import importlib.util, jupyter_server.services.contents.filecheckpoints as kept; "
        "print(kept.FileCheckpoints().checkpoint_dir, "
        "importlib.util.cache_from_source('a.py'))"
    )
    checkpoints, compiled = triton.run(
        "login", f"{PATHS.jupyter_env}/bin/python -c {shlex.quote(leave)}", user
    ).stdout.split()
    hidden, kept = (
        [f"{checkpoints}/a.ipynb", compiled, ".env", "data/raw/large.csv", "results/plot.png"],
        [".gitignore", "a.ipynb", "data/small.csv"],
    )
    triton.run(
        "login",
        "mkdir ignored; cd ignored; git init -q; mkdir -p $(dirname "
        f"{' '.join(hidden + kept)}); touch {' '.join(hidden + kept)}",
        user,
    )
    triton.write("login", "~/ignored/.gitignore", pages.read("scicomp/gitignore"), user)
    status = triton.run(
        "login", "cd ignored; git status --short --untracked-files=all; rm -rf ~/ignored", user
    ).stdout.split()
    assert status[1::2] == kept, f"scicomp/gitignore: git sees {status}"


@pytest.mark.claims(
    "``pipx`` gives it an environment of its own, where it slows down nobody else's "
    "imports. Git looks for its parts by name, so "
    "``~/.local/bin`` has to be in your ``PATH``: ``pipx ensurepath`` sees to that for "
    "every new terminal, and ``exec bash`` "
    "makes this one new."
)
def test_pipx_gives_nbdime_an_environment_of_its_own(triton):
    """A new terminal finds nbdime."""
    user = triton.account()
    bare = "env -i HOME=$HOME TERM=dumb PATH=/usr/bin:/bin bash -ic 'command -v git-nbdiffdriver'"
    before = triton.run(
        "laptop",
        f"pipx install nbdime > /dev/null; {bare}; python3 -c 'import nbdime'; pipx "
        "ensurepath > /dev/null",
        user,
    )  # both commands run in one terminal
    assert before.stdout == "" and "No module named 'nbdime'" in before.stderr
    assert (
        triton.run("laptop", bare, user).stdout.strip()
        == f"{PATHS.home}/{user}/.local/bin/git-nbdiffdriver"
    )
    settings = triton.run(
        "laptop",
        "PATH=$PATH:~/.local/bin; nbdime config-git --enable --global; git config "
        "diff.jupyternotebook.command",
        user,
    ).stdout
    assert settings.startswith("git-nbdiffdriver "), "git does not find nbdime by name"


@pytest.mark.claims("JupyterLab with jupytext then saves both.")
def test_a_pair_is_saved_as_both_halves(triton, user, server):
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": "one",
        "metadata": {},
        "outputs": [],
        "source": "x = 1",
    }
    content = {
        "cells": [cell],
        "metadata": {"jupytext": {"formats": "ipynb,md:myst"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    server.talk("ask", "/api/contents/pair.ipynb", {"type": "notebook", "content": content}, "PUT")
    assert (
        "x = 1"
        in triton.run("login", "cat pair.md; grep -c outputs pair.ipynb; rm pair.*", user).stdout
    )


def notebook(source):
    return json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": "one",
                    "metadata": {},
                    "outputs": [],
                    "source": source,
                }
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
    )


@pytest.mark.claims(
    "On {{ cluster.name }} it is there, and :doc:`one command "
    "</triton/apps/jupyter/git>` sets it up."
)
@pytest.mark.claims(
    "It uses the centrally installed nbdime by its absolute path, so it works whatever "
    "modules you have loaded, and from any "
    "directory."
)
@pytest.mark.parametrize("where", ["repository", "repository/deep/down", "worktree"])
def test_nbdime_git_is_enabled_from_any_directory(triton, user, where):
    """The directory is in the repository or in a second worktree."""
    triton.run(
        "login",
        """set -e; rm -rf git-test; mkdir git-test; cd git-test
        git init --quiet --initial-branch=main repository; cd repository
        git config user.name R; git config user.email r@example.org; mkdir -p deep/down
        cat > deep/analysis.ipynb; git add .; git commit --quiet -m one
        git worktree add --quiet ../worktree""",
        user,
        input=notebook("mean = 1"),
    )
    triton.run("login", f"module purge; cd git-test/{where}; nbdime-git enable", user)
    tree = "git-test/worktree" if where == "worktree" else "git-test/repository"
    assert (
        PATHS.jupyter_env
        in triton.run("login", f"cd {tree}; git config diff.jupyternotebook.command", user).stdout
    )
    triton.run("login", f"cat > {tree}/deep/analysis.ipynb", user, input=notebook("mean = 2"))
    with closing(Terminal(triton, "login", user, PROMPTS)) as terminal:
        # It works with any modules, and from any directory.
        for module, folder in (
            (f"module load {MODULES.python}", "deep"),
            ("module purge", "deep/.."),
            (f"module load {MODULES.demo}", "deep/../deep"),
        ):
            terminal.type(f"cd; {module}; cd {tree}/{folder}")
            lines, status = terminal.type("git diff")
            text = "\n".join(lines)
            assert (
                status == 0
                and "mean = 2" in text
                and '"cells"' not in text
                and '"source"' not in text
            ), text
    # In a pipe, git prints a normal patch.
    patch = triton.run(
        "login",
        f"cd {tree}; git diff | tee ../p.patch; git checkout --quiet .; git apply "
        "../p.patch && git diff --quiet; echo $?",
        user,
    ).stdout
    assert '"source": "mean = 2"' in patch and patch.endswith("\n1\n")


# ---------------------------------------------------------------- last: its job runs a minute


@pytest.mark.claims(
    "``--mem=100M`` - the most memory it may take",
    "When the time is up or the memory exceeded, Slurm ends it.",
    "one that exceeds its memory or time is killed.",
    "``TIMEOUT`` - its ``--time`` was up",
)
@pytest.mark.claims("Ask for too little, and the job is killed.")
def test_a_job_whose_time_is_up_is_killed_and_its_output_says_so(triton, user, out_of_time):
    assert state(triton, user, out_of_time, seconds=150)[0] == "TIMEOUT"
    assert "DUE TO TIME LIMIT" in triton.run("login", "cat out-of-time", user).stdout
    script, _ = HOW_IT_ENDS["OUT_OF_MEMORY"]
    assert state(triton, user, submit(triton, user, script, "--mem=50M --output=/dev/null"))[0] in (
        "OUT_OF_MEMORY",
        "FAILED",
    )
