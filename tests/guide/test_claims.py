"""What the guide says about the cluster is true on the small cluster."""

import contextlib
import inspect
import itertools
import json
import re
import shlex
import subprocess
from contextlib import closing
from urllib.parse import urlparse

import pytest

from tools import pages
from tools.browser import needs_chromium
from tools.cluster import cluster, jupyter_server
from tools.cluster.hub import notebook
from tools.cluster.jupyter_server import (
    Server,
    Ssh,
    let_in,
    listens,
    literals,
    proxy,
    proxy_answers,
    rows,
)
from tools.cluster.small_triton import PATIENCE, PROMPTS
from tools.cluster.terminal import Terminal
from tools.files import ROOT
from tools.proof.amounts import NUMBERS, UNITS

FACTS = cluster.facts()
HOSTS, PATHS, MODULES, PARTITIONS = (
    getattr(FACTS, name) for name in ("hosts", "paths", "modules", "partitions")
)
PORT, NODE = FACTS.proxy.port, f"{HOSTS.node}.{HOSTS.domain}"
KERNELS = "triton/apps/jupyter/kernels.rst"
PAPERMILL = "triton/apps/jupyter/private_papermill.py"  # a file that batch.rst shows


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
    name.tries("scancel --me")


@pytest.fixture(scope="module", autouse=True)
def out_of_time(user):
    """The number of a job that reaches its time limit after a minute, while the other tests run."""
    return user.submit(
        "sleep 600", "--time=1 --mem=50M --job-name=out-of-time --output=out-of-time"
    )


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


# ---------------------------------------------------------------- connecting


@pytest.mark.claims(
    "From anywhere else the login node does not answer, but ``{{ hosts.gateway }}`` does. ``-J`` "
    "jumps over it.",
    "Without ``hostname`` at the end you stay there.",
    "An old ``ssh`` has no ``-J``. Its long form does the same:",
    "In {{ cluster.network }}{{ if cluster.vpn }}, or on the VPN{{ end }}:",
    "Leave ``hostname`` out to stay.",
    "Inside, the web service and ``ssh`` work at once. Outside, they do not answer:",
    "Or jump through the gateway:",
    "Outside the university's networks, go through the gateway:",
    "On the login node. It is for editing,",
)
def test_from_outside_ssh_needs_the_gateway(triton, user):
    """From outside, ssh reaches the login node only through the gateway."""
    there, gate = f"{user}@{HOSTS.login}", f"{user}@{HOSTS.gateway}"
    ssh = "ssh -o BatchMode=yes -o ConnectTimeout=2"
    direct = user.tries(f"{ssh} {there} hostname", "outside")
    assert direct.returncode == 255 and HOSTS.login not in direct.stdout
    web = f"curl --silent --max-time 2 --output /dev/null https://{HOSTS.hub}"
    assert user.tries(web, "outside").returncode == 7  # no connection
    for host, way in (
        ("outside", f"-J {gate} {there}"),
        ("outside", f"{there} -o ProxyCommand='ssh {gate} -W %h:%p'"),
        ("laptop", there),
    ):
        assert user.run(f"{ssh} {way} hostname", host).strip() == HOSTS.login
    with closing(Terminal(triton, "laptop", user, PROMPTS)) as terminal:
        for command, host in ((f"ssh {there} hostname", "laptop"), (f"ssh {there}", "login")):
            terminal.type(command)
            assert terminal.host == host


@pytest.mark.claims(
    "Save typing with this file; write your own user name for ``username``:",
    "It works? Append it to your own settings, and ``ssh {{ hosts.short }}`` is enough from then "
    "on.",
    "ssh {{ hosts.short }}: in the networks of the university{{ if cluster.vpn }}, or on its "
    "VPN{{ end }} {{ if hosts.gateway }}# ssh {{ hosts.short }}-outside: from anywhere else{{ "
    "end }}",
    "With the :ref:`settings for ssh <ssh-outside>` you can leave out ``-J``.",
)
def test_the_shown_ssh_settings_connect_from_inside_and_outside(triton, user):
    settings = pages.read("triton/apps/jupyter/ssh_config").replace("username", user)
    for host, name in (("laptop", HOSTS.short), ("outside", f"{HOSTS.short}-outside")):
        login = f"ssh -o BatchMode=yes {name} hostname"
        assert user.tries(login, host).returncode == 255, "the name works without the settings"
        user.run("cat >> .ssh/config", host, input=settings)
        try:
            assert user.run(login, host).strip() == HOSTS.login
            copy = f"echo copied > table.csv; scp -q table.csv {name}:; ssh {name} cat table.csv"
            assert user.run(copy, host) == "copied\n"
            options = user.run(f"ssh -G {name}", host)
            assert "serveraliveinterval 60\n" in options
            assert ("proxyjump" in options) == (host == "outside")
            # Root would also be root on the other host without the setting.
            others = triton.run(host, f"ssh -F /dev/stdin -G {name}", input=settings).stdout
            assert f"user {user}\n" in others
            assert host == "laptop" or f"proxyjump {user}@{HOSTS.gateway}\n" in others
        finally:
            user.run("rm .ssh/config", host)


@pytest.mark.claims(
    "Laptops that sleep cut it each time; ``ServerAliveInterval`` in the file above lets ``ssh`` "
    "notice."
)
def test_with_alive_messages_ssh_notices_a_silent_end(triton, user):
    """The connection stops as a sleeping laptop's does. The settings' minute is a second here."""
    settings = pages.read("triton/apps/jupyter/ssh_config").replace("username", user)
    settings = settings.replace("ServerAliveInterval 60", "ServerAliveInterval 1")
    user.run("cat > settings", "laptop", input=settings)
    with Ssh(triton, "laptop", user, f"-F settings -N -D {PORT} {HOSTS.short}") as ssh:
        proxy_answers(triton)
        daemons = f"$(ps --no-headers -o pid=,args= -u {user} | awk '/sshd/ {{print $1}}')"
        stopped = triton.run("login", f"kill -STOP {daemons}; echo {daemons}").stdout
        try:
            ssh.waits_for("Timeout, server .* not responding")
        finally:
            triton.run("login", f"kill -CONT {stopped}", check=False)


def prompted(user, host, password, command, trust="yes"):
    """Run `command`; answer `trust` if ssh asks for trust, no if it asks again, and `password` to
    its other questions. Return (the output, the questions).
    """
    again = "*Please*) echo no;;"
    answer = f'case "$1" in {again} *yes/no*) echo {trust};; *) echo {password};; esac'
    user.write("~/say", f'#!/bin/sh\necho "$1" >> asked\n{answer}\n', "700", host)
    output = user.run(
        "rm -f asked; export DISPLAY=: SSH_ASKPASS=./say SSH_ASKPASS_REQUIRE=force; "
        f"{command}; echo; cat asked; rm -f say asked",
        host,
    )
    printed, _, questions = output.partition("\n\n")
    return printed, questions


@pytest.mark.claims(
    "The first time, ``ssh`` shows the fingerprint of the host's key and asks whether you trust "
    "it.",
    "Compare it with :ref:`the right ones <host-key>`, then answer ``yes``. It does not ask again.",
    "At the first connection ``ssh`` shows the fingerprint of the login node's key.",
    "It may ask twice: once for the gateway, once for {{ cluster.name }}.",
    "If it one day says ``REMOTE HOST IDENTIFICATION HAS CHANGED``, stop and ask us.",
)
def test_ssh_asks_for_trust_once_and_for_each_password(triton):
    user = triton.account()
    ssh = f"ssh {user}@{HOSTS.login} hostname"
    printed, questions = prompted(user, "laptop", triton.password(user), f"{ssh}; {ssh}")
    key = triton.run("login", "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub").stdout
    assert printed.split() == [HOSTS.login] * 2
    assert questions.count(key.split()[1]) == 1
    assert questions.count("Are you sure you want to continue connecting") == 1
    jump = f"ssh -J {user}@{HOSTS.gateway} {user}@{HOSTS.login} hostname"
    printed, questions = prompted(user, "outside", triton.password(user), jump)
    assert printed.strip() == HOSTS.login
    assert re.findall(r"@(\S+)'s password", questions) == [HOSTS.gateway, HOSTS.login]
    page = pages.read("triton/tut/connecting.rst")
    [warning] = [text for text in literals(page) if text.isupper()]
    another = f"ssh-keygen -q -t ed25519 -N '' -f other; echo {HOSTS.login} $(cat other.pub)"
    refused = user.tries(f"{another} > .ssh/known_hosts; {ssh} -o BatchMode=yes", "laptop")
    assert refused.returncode == 255 and warning in refused.stderr


@pytest.mark.claims(
    "These are the right ones:",
    "If it is one of these, answer ``yes``. You can also paste the fingerprint from here as the "
    "answer; ``ssh`` then compares for you.",
    "If it is another one, answer ``no``,",
    ":columns: type = Key fingerprint = Fingerprint",
)
def test_ssh_compares_a_fingerprint_that_is_its_answer(triton):
    user = triton.account()
    listed = triton.run("login", "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub").stdout
    _, right, *_, kind = listed.split()
    [published] = [key.fingerprint for key in FACTS.host_keys if f"({key.type})" == kind]
    ssh = f"ssh {user}@{HOSTS.login} hostname 2>&1"
    refused, _ = prompted(user, "laptop", triton.password(user), ssh, published)
    assert "Host key verification failed" in refused
    assert HOSTS.login not in prompted(user, "laptop", triton.password(user), ssh, "no")[0].split()
    printed, questions = prompted(user, "laptop", triton.password(user), ssh, right)
    assert HOSTS.login in printed.splitlines() and right in questions


@pytest.mark.claims(
    "- in the wireless network ``{{ cluster.wifi }}``, on the premises of {{ cluster.university }} "
    "- inside {{ end }}",
    "- at a cable in an office of {{ cluster.university }} - inside",
    "- anywhere, with the VPN ``{{ cluster.vpn }}`` - inside {{ end }}",
    "- in the network for guests, ``{{ cluster.guests }}`` - outside {{ end }}",
    "- at home, in a café, at another university - outside",
    "To see it without logging in:",
)
def test_the_login_node_answers_inside_and_not_outside(user):
    """Which network is which stands in triton/facts.toml, beside each name."""
    scan = f"ssh-keyscan -T 3 -t ed25519 {HOSTS.login} 2>/dev/null"
    assert HOSTS.login in user.run(scan, "laptop")
    assert not user.tries(scan, "outside").stdout


@pytest.mark.claims(
    "What you publish with the help of {{ cluster.name }} says so. For example:",
    "{{ access.thanks }}",
)
def test_the_words_of_thanks_are_shown():
    page = pages.filled("triton/tut/first-day.rst")
    section = page.partition("_acknowledge:")[2].partition(".. _")[0]
    assert f"For example:\n\n   {FACTS.access.thanks}\n" in section


@pytest.mark.claims(
    "Until you have it, ``ssh`` asks for your password, and then says ``Permission denied``."
)
def test_without_access_the_password_is_refused(triton):
    user = triton.account()
    ssh = f"ssh -o NumberOfPasswordPrompts=1 stranger@{HOSTS.login} hostname 2>&1"
    printed, questions = prompted(user, "laptop", "secret", ssh)
    assert "stranger@" in questions and "Permission denied" in printed


@pytest.mark.claims(
    "{{ cluster.name }} asks for your password or :ref:`your key <ssh-key>`, and for no second "
    "factor.",
    "You lost the phone, or have a new one? Ask {{ cluster.university }}; in the right network you "
    "need neither.",
)
def test_a_login_asks_for_nothing_but_the_password(triton):
    user = triton.account()
    ssh = f"ssh -o StrictHostKeyChecking=accept-new {user}@{HOSTS.login} hostname"
    printed, questions = prompted(user, "laptop", triton.password(user), ssh)
    assert HOSTS.short in printed
    assert questions.splitlines() == [f"{user}@{HOSTS.login}'s password: "]


@pytest.mark.claims(
    "If it says that the file exists, you have a key already: answer ``n`` and take that one.",
    "Give its public half to {{ cluster.name }}:",
    "From now on your computer asks for the passphrase, not for the password.",
    "The file without ``.pub`` is the secret half: it stays where it is,",
    "On Windows, press Enter when it asks for a file:",
    "Type a passphrase when it asks: whoever copies the file cannot use it without.",
    "``ssh-add`` unlocks the key until you log out of your computer.",
)
def test_a_new_key_is_asked_for_instead_of_the_password(triton):
    """The command that is shown for Windows transfers the public half of the key."""
    user, page = triton.account(), pages.read("triton/tut/connecting.rst")
    make, give = (
        re.search(pattern, page, re.MULTILINE)[1]
        for pattern in (r"^ +(ssh-keygen -t \S+)$", r"^ +type \S+\.pub \| (ssh .*)$")
    )
    ssh, key = f"ssh {user}@{HOSTS.login} hostname", ".ssh/id_ed25519"
    assert "'s password" in prompted(user, "laptop", triton.password(user), ssh)[1]
    # an empty line is Enter, when it asks for a file
    prompted(user, "laptop", "secret", f"echo | {make}")
    both = f"head -1 {key}; cat {key}.pub"
    kept = user.run(both, "laptop").splitlines()
    assert "PRIVATE KEY" in kept[0] and kept[1].startswith("ssh-ed25519 ")
    again = user.tries(f"echo n | ssh-keygen -t ed25519 -f {key}", "laptop")
    assert "already exists" in again.stdout
    assert user.run(both, "laptop").splitlines() == kept
    given = f"cat {key}.pub | {give.replace('username', user)}"
    prompted(user, "laptop", triton.password(user), given)
    assert user.run("cat .ssh/authorized_keys").splitlines() == kept[1:]
    assert user.tries(ssh.replace("ssh", "ssh -o BatchMode=yes", 1), "laptop").returncode == 255
    printed, questions = prompted(user, "laptop", "secret", ssh)
    assert printed.strip() == HOSTS.login
    assert "Enter passphrase for key" in questions and "'s password" not in questions
    unlocked = f"eval $(ssh-agent) > /dev/null; ssh-add -q; {ssh}; {ssh}; kill $SSH_AGENT_PID"
    printed, questions = prompted(user, "laptop", "secret", unlocked)
    assert printed.split() == [HOSTS.login] * 2 and questions.count("assphrase") == 1


def ask(user, url, how):
    """The exit status and the output of `curl` for `url` on the laptop."""
    asked = user.tries(f"curl --silent --show-error --max-time 10 {how} {url}", "laptop")
    return asked.returncode, asked.stdout + asked.stderr


@pytest.mark.claims(
    "What arrives there comes out on {{ cluster.name }}.",
    "No program listens at that port, so the proxy closes the connection. But the answer came from "
    "the proxy: it works. "
    "(Try the address of your own server, and ``curl`` prints a page.) Without the proxy nobody "
    "knows the name:",
    "While the proxy runs, ask for a compute node by its name,",
    "This is why DNS has to go through the proxy, in the browser as well. ``--socks5-hostname`` "
    "does so, ``--socks5`` does not.",
)
def test_names_are_looked_up_at_the_far_end_of_the_proxy(triton, user, server, claim):
    url, [(does, does_not)] = f"{server.url}/api", map(literals, claim)
    through = f"{does} localhost:{PORT}"
    with proxy(triton, user):
        status, output = ask(user, url, through)
        assert status == 0 and "version" in json.loads(output)
        assert ask(user, url, f"{does_not} localhost:{PORT}")[0] == 97
        assert ask(user, url, "")[0] == 6
        shown = ask(user, server.address, f"--location --cookie-jar /dev/null {through}")[1]
        assert "<title>" in shown, "curl prints no page"
        assert ask(user, f"http://{NODE}:1", through)[0] == 97, "a closed port looks different"


@pytest.mark.claims(
    "It has to run whenever you use the notebook, so leave the window open.",
    "Start the proxy again. It ended with its ``ssh``, and until it is back every address that "
    "goes through it fails: compute nodes,",
    "Your notebooks have gone on running.",
)
def test_after_a_dropped_connection_the_proxy_is_started_again(triton, user, server):
    """Without the proxy the address fails, and notebooks keep running."""
    url, how = f"{server.url}/api", f"--socks5-hostname localhost:{PORT}"
    server.first.execute("dropped = True")
    for _ in range(2):
        with proxy(triton, user):
            assert ask(user, url, how)[0] == 0
        assert ask(user, url, how)[0] == 7
    assert server.first.prints("print(dropped)") == "True"


@pytest.mark.claims(
    "With an old ``ssh``: ``ssh -D {{ proxy.port }} username@{{ hosts.login }} -o "
    "ProxyCommand='ssh username@{{ hosts.gateway }} -W %h:%p'``"
)
def test_from_outside_both_forms_of_the_proxy_work(triton, user, server):
    """Both forms lead through the gateway."""
    gate = f"{user}@{HOSTS.gateway}"
    look = f"curl --silent --socks5-hostname localhost:{PORT} {server.url}/api"
    for way in (f"-J {gate}", f"-o ProxyCommand='ssh {gate} -W %h:%p'"):
        with proxy(triton, user, "outside", way):
            assert "version" in json.loads(user.run(look, "outside"))


@pytest.mark.claims(
    "You are on the login node as usual; at the same time ``-D {{ proxy.port }}`` has opened "
    "port ``{{ proxy.port }}`` on your own computer.",
    "With ``-N`` it is the proxy alone, without a shell.",
)
def test_the_proxy_with_N_has_no_shell(triton, user):
    shells = f"[ $(ps --no-headers -u {user} -o args | grep -c '^-bash') = {{}} ]"
    with proxy(triton, user):
        triton.run("login", shells.format(0))
    with Ssh(triton, "laptop", user, f"-tt -D {PORT} {user}@{HOSTS.login}"):
        proxy_answers(triton)
        # A shell that starts runs further shells.
        triton.run("login", f"until {shells.format(1)}; do sleep 0.1; done", timeout=PATIENCE)


@pytest.mark.claims(
    "You need it for :doc:`sjupyter <sjupyter>`,",
    "You cannot change the browser? Forward one port.",
    "Then open the address that it printed, with ``localhost`` in place of the node and the "
    "token as it is: ``http://localhost:{{ proxy.example }}``.",
    "It serves this one server; the next one has another node or port.",
)
def test_one_forwarded_port_serves_one_server(triton, user, server):
    node, port = server.url.removeprefix("http://").split(":")
    here = FACTS.proxy.example
    kernels = f"http://localhost:{here}/api/kernels"
    with Ssh(triton, "laptop", user, f"-N -L {here}:{node}:{port} {user}@{HOSTS.login}"):
        listens(triton, "laptop", here)
        listed = ask(user, f"{kernels}?token={server.token}", "")[1]
        assert listed.count(server.first.number) == 1
        assert ask(user, kernels, "--fail")[0] == 22, "the server answers without its token"
        assert ask(user, server.url, "")[0] == 6


@pytest.mark.claims(
    "It lasts as long as its window: leave that open. To close the tunnel, type ``exit`` there. "
    "Your server goes on, so stop that too, when you are done.",
)
def test_exit_closes_the_tunnel_and_not_the_server(triton, user, server):
    node, port = server.url.removeprefix("http://").split(":")
    here = FACTS.proxy.example
    with Ssh(triton, "laptop", user, f"-L {here}:{node}:{port} {user}@{HOSTS.login}") as ssh:
        listens(triton, "laptop", here)
        ssh.process.stdin.write("exit\n")
        ssh.process.stdin.flush()
        ssh.process.wait(PATIENCE)
        assert ask(user, f"http://localhost:{here}/api", "")[0] == 7
    assert "version" in user.run(f"curl --silent {server.url}/api")


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
    "Addresses that end in ``.{{ hosts.domain }}``, the hub ``{{ hosts.hub }}``, and the hub's "
    "servers ``{{ hosts.servers }}`` go through the proxy. All others go directly, as before.",
    "Which proxy for which address? The browser asks this function for each one.",
    "So all these go through the ssh -D on this computer, and their names are looked up at its "
    "other end. Everything else goes as it always did.",
    "The proxy is an ``ssh`` that also carries what your browser sends.",
    "and a rule in the browser. :ref:`proxy` goes through it step by step, and has a file that "
    "spares you the rule.",
)
@needs_chromium
def test_the_proxy_file_takes_the_clusters_addresses_only(triton, user, playwright, tmp_path):
    """The browser requests all other addresses without the proxy."""
    from playwright.sync_api import Error

    asked = {}
    with (
        Ssh(triton, "laptop", user, f"-vv -N -D {PORT} {user}@{HOSTS.login}") as ssh,
        jupyter_server.proxy_file(triton, user) as address,
        jupyter_server.browser(playwright, triton, tmp_path, pac=address) as chromium,
    ):
        proxy_answers(triton)
        for url in THROUGH + DIRECT:
            before, page = len(ssh.said()), chromium.new_page()
            # Each page fails with an error of its own; only the use of the proxy matters.
            with contextlib.suppress(Error):
                page.goto(url, timeout=PATIENCE * 1000, wait_until="commit")
            request = f"dynamic request: socks5 host {re.escape(urlparse(url).hostname)} port"
            asked[url] = bool(re.search(request, ssh.said()[before:]))
            page.close()
    assert asked == dict.fromkeys(THROUGH, True) | dict.fromkeys(DIRECT, False)


# ---------------------------------------------------------------- the server


@pytest.mark.claims(
    "``exit`` ends the connection; your jobs in the queue go on without it.",
    "Closing the tab stops nothing:",
)
def test_a_server_in_the_queue_survives_logging_out(user, server):
    """It runs on another host, as its user."""
    assert server.first.prints("print(answer)") == "42"
    look = "import getpass, socket; print(getpass.getuser(), socket.gethostname())"
    name, host = server.first.prints(look).split()
    assert name == user and host != HOSTS.login


@pytest.mark.claims(
    "Slurm kills what takes more memory than its profile allows, without a warning and "
    "without a notice of its own:",
    "Slurm kills what exceeds the limit, without a message in the notebook.",
    "Above that Slurm kills.",
    "Whoever takes more than that is killed",
)
def test_what_is_over_the_memory_limit_is_killed_and_logged(triton, user):
    """Slurm gives no notice in the notebook."""
    by_cgroup = triton.memory == "cgroup"
    with Server(triton, user, "--mem=400M --time=5") as greedy:
        kernel, modest = greedy.kernel(), greedy.kernel("bash")
        assert modest.prints("echo here") == "here"
        reply = kernel.execute("held = bytearray(900_000_000)")
        notice = reply["stdout"] + reply["stderr"] + reply["error"] + reply["result"]
        assert not notice, "there is a notice in the notebook"
        if by_cgroup:
            assert reply["status"] == "restarting"
            assert kernel.execute("held")["error"].startswith("NameError"), "it is the old kernel"
            assert modest.prints("echo here") == "here", "another kernel or the server has ended"
            assert "killed" not in greedy.said().lower()
        else:
            user.ended(greedy.job)
    user.wait_until(f"grep -qi killed {greedy.log}")
    assert ("oom-kill" if by_cgroup else "exceeded") in greedy.said()


# ---------------------------------------------------------------- kernels


def make_kernel(user, name, env=None, **changes):
    """Give `user` a kernel: the page's kernel.json with another `env` and other keys."""
    spec = json.loads(pages.read("triton/apps/jupyter/demo-kernel.json")) | changes
    if env is not None:
        spec["env"] = env
    user.run(f"mkdir -p {PATHS.user_kernels}/{name}")
    user.write(f"{PATHS.user_kernels}/{name}/kernel.json", json.dumps(spec))


def environment(kernel):
    return json.loads(kernel.prints("import json, os; print(json.dumps(dict(os.environ)))"))


@pytest.mark.claims(
    "The module loads the environment that Jupyter itself runs in, so that you see what it sees.",
    "Bash - the node's own",
    "Python 2 is no longer there, nor is its kernel.",
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
    listed = user.run(f"module load {MODULES.jupyter}; jupyter kernelspec list --json")
    assert json.loads(listed)["kernelspecs"].keys() == there.keys(), "the module has other kernels"
    assert not [name for name in there if re.search("python2|julia", name)]
    hello = {"python": "print('hello')", "r": "cat('hello')", "bash": "echo hello"}
    table = {row[0].lower() for row in rows(KERNELS, "Software and kernels")}
    assert table == {*hello, "matlab"}, "the page's table and this test name different kernels"
    for language, code in hello.items():
        assert server.kernel(languages[language]).prints(code) == "hello"
    bash = triton.run("login", "readlink -f /bin/bash").stdout.strip()
    assert server.kernel("bash").prints("readlink /proc/$$/exe") == bash, "not that of the node"


@pytest.mark.claims(
    "Here is one that runs as it stands:",
    "``argv`` is the command that starts the kernel; Jupyter puts a file name in place of "
    "``{connection_file}``. ``display_name`` is what the launcher shows. ``env`` is a list of "
    "variables that are set before the command starts.",
    "A kernel is a folder with a file ``kernel.json``",
    "The values are frozen then:",
)
def test_the_shown_kernel_starts_and_has_its_variables(user, server):
    shown = json.loads(pages.read("triton/apps/jupyter/demo-kernel.json"))
    make_kernel(user, "shown")
    spec = server.kernelspecs()["shown"]["spec"]
    names = (spec["display_name"], spec["language"])
    assert names == ("Demo, by hand", "python"), "triton/apps/jupyter/demo-kernel.json"
    kernel = server.kernel("shown")
    variables = environment(kernel)
    assert variables["DEMO_GREETING"] == shown["env"]["DEMO_GREETING"]
    assert variables["OMP_NUM_THREADS"] == "1"
    of_module = user.run(f"module load {MODULES.demo}; echo $DEMO_GREETING").strip()
    assert variables["DEMO_GREETING"] != of_module, "the module's value replaced the kernel's"
    path = environment(server.first)["PATH"]
    assert variables["PATH"] == f"{PATHS.home}/{user}/bin:{path}"
    before, after = map(re.escape, " ".join(shown["argv"]).split("{connection_file}"))
    look = "print(open('/proc/self/cmdline').read().strip('\\0').replace('\\0', ' '))"
    assert re.fullmatch(rf"{before}/\S+\.json{after}", kernel.prints(look))


@pytest.mark.claims(
    '``"OMP_NUM_THREADS": "1"`` - exactly that.',
    '``"${HOME}/bin"`` - your home directory, from the environment of the Jupyter server. '
    "``$HOME`` works too.",
    '``"${HOME}/bin:${PATH}"`` - your folder, then what was in ``PATH``.',
    '``"${NOT_SET}/bin"`` - ``${NOT_SET}/bin``, as it stands, when the server has no such '
    "variable. So do not extend ``LD_LIBRARY_PATH`` like this unless it is set: write it out.",
    '``"~/bin"``, ``"$(date)"`` - ``~/bin``, ``$(date)``. No shell reads them.',
    '``"$$5"`` - ``$5``',
    "You write - The kernel gets",
)
def test_what_the_env_block_does_is_what_the_table_says(user, server):
    table = rows(KERNELS, "kernel-env")
    home = f"{PATHS.home}/{user}"
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
                expected[name] = expected[f"{name}_AS_WELL"] = text.replace("${HOME}", home)
                env[f"{name}_AS_WELL"] = text.replace("${HOME}", promised[0])
            elif gets.startswith("your folder, then"):
                assert text.endswith(":${PATH}")
                env["PATH"] = text
                expected[name] = f"{home}/bin:{environment(server.first)['PATH']}"
                expected["PATH"] = expected[name]
            else:
                expected[name] = promised[index]
    assert len(env) == len(table) + 3 and any("$" in value for value in expected.values())
    make_kernel(user, "table", env)
    variables = environment(server.kernel("table"))
    assert {name: variables.get(name) for name in expected} == expected


@pytest.mark.claims(
    "Every value is a string, numbers too.",
    "Without the last part, ``PATH`` is replaced.",
    "**Often:** the new folder alone. It is found, and `ls` is not any more.",
    '``"python"`` as the first word of ``argv`` means the Python that runs Jupyter, whatever '
    "``PATH`` says: write the full path of yours.",
    "That is the Python that runs Jupyter, whatever `PATH` says.",
    "`LD_LIBRARY_PATH`, where a program looks for its libraries, is of this kind.",
    "libraries are looked up when a program starts, so ``LD_LIBRARY_PATH`` works here and not "
    "from a cell.",
    "set ``LD_LIBRARY_PATH`` to the folder ``lib`` of the environment, in :ref:`the env "
    "block of its kernel <kernel-env>`.",
)
def test_path_libraries_and_the_word_python_of_a_kernel(user, server):
    """A PATH without its old value replaces it; the word is the first one of a kernel's command."""
    make_kernel(user, "replaced", {"PATH": "${HOME}/bin"})
    replaced = server.kernel("replaced")
    assert environment(replaced)["PATH"] == f"{PATHS.home}/{user}/bin"
    assert replaced.prints("import shutil; print(shutil.which('ls'))") == "None"
    make_kernel(user, "number", {"OMP_NUM_THREADS": 1})
    with pytest.raises(AssertionError, match="HTTP Error 500"):
        server.kernel("number")
    _, *words = json.loads(pages.read("triton/apps/jupyter/demo-kernel.json"))["argv"]
    other = f"{PATHS.apps}/{MODULES.python}/bin"
    make_kernel(user, "word", {"PATH": f"{other}:${{PATH}}"}, argv=["python", *words])
    look = "import sys, shutil; print(sys.prefix, shutil.which('python'))"
    assert server.kernel("word").prints(look).split() == [PATHS.jupyter_env, f"{other}/python"]
    user.run("mkdir -p lib; cp /lib/*/libz.so.1 lib/libonly-here.so")
    make_kernel(user, "library", {"LD_LIBRARY_PATH": "${HOME}/lib"})
    load = "import ctypes; ctypes.CDLL('libonly-here.so')"
    assert server.kernel("library").execute(load)["status"] == "ok"
    late = f"import os; os.environ['LD_LIBRARY_PATH'] = '{PATHS.home}/{user}/lib'; {load}"
    assert "libonly-here.so: cannot open" in server.first.execute(late)["error"]


@pytest.mark.claims(
    "Jupyter is one program, your kernel another, and they need not be of the same environment.",
    "Any Python environment becomes a kernel when it has ``ipykernel`` in it.",
    "Packages that you install into the environment later are there after a restart of the kernel.",
    "Your kernels land in a folder of your home directory.",
    "The environment itself stays; delete its folder too if you are done with it.",
    "``envkernel conda`` and ``envkernel virtualenv`` do the same for an environment, with its "
    "folder in place of the modules.",
    "and you can add your own:",
    "A kernel is the program that runs your cells.",
    "Remove one:",
)
def test_an_environment_becomes_a_kernel_and_outlives_it(user, server):
    """The kernel is in the user's folder. The environment remains when the kernel is removed."""
    own, prefix = "$WRKDIR/envs/own", f"{PATHS.work}/{user}/envs/own"
    register = f"{own}/bin/python -m ipykernel install --user --name own-env"
    look = "import sys; print(sys.prefix)"
    user.run(f"module load {MODULES.python}; python3 -m venv {own}")
    assert "No module named ipykernel" in user.tries(register).stderr
    user.run(f"{own}/bin/pip install --quiet --no-compile ipykernel && {register}")
    user.run(f"ls -d {PATHS.user_kernels}/own-env")
    kernel = server.kernel("own-env")
    assert kernel.prints(look) == prefix
    assert server.first.prints(look) == PATHS.jupyter_env, "they share an environment"
    user.run(f"{own}/bin/pip install --quiet idna")
    server.talk("ask", f"/api/kernels/{kernel.number}/restart", {})
    assert kernel.prints("import idna; print(idna.__name__)") == "idna", "not after a restart"
    user.run(f"module load {MODULES.jupyter}; jupyter kernelspec remove -f own-env")
    assert "own-env" not in server.kernelspecs()
    for way in ("conda", "virtualenv"):
        make = f"envkernel {way} --user --name=by-{way} {own}"
        user.run(f"module load {MODULES.jupyter}; {make}")
        assert server.kernel(f"by-{way}").prints(look) == prefix
    user.run(f"! [ -e {PATHS.user_kernels}/own-env ] && {own}/bin/python -c 'import ipykernel'")


@pytest.mark.claims(
    "``envkernel`` writes a kernel that loads these modules each time it starts, and then "
    "becomes the kernel. One of the modules has to bring your ``python``, with ``ipykernel`` in "
    "it; here it is ``{{ modules.python }}``. If none does, the kernel is Jupyter's own Python. "
    "What the others set is there in your notebook.",
    "``envkernel`` has no such problem.",
    "Modules come :ref:`with the kernel <module-kernel>`.",
)
def test_a_kernel_that_loads_a_module_has_the_modules_variables(user, server):
    make = f"module load {MODULES.jupyter}; envkernel lmod --user --name=with-module {MODULES.demo}"
    user.run(f"{make} {MODULES.python}")
    of_module = user.run(f"module load {MODULES.demo}; echo $DEMO_GREETING").strip()
    assert of_module and "DEMO_GREETING" not in environment(server.first)
    spec = user.run(f"cat {PATHS.user_kernels}/with-module/kernel.json")
    assert MODULES.demo in spec and of_module not in spec, (
        "it does not load the module at its start"
    )
    kernel = server.kernel("with-module")
    parent = "import os; print(open(f'/proc/{os.getppid()}/cmdline').read())"
    assert "jupyter-lab" in kernel.prints(parent), "envkernel still runs beside the kernel"
    variables = environment(kernel)
    assert variables["DEMO_GREETING"] == of_module and MODULES.demo in variables["LOADEDMODULES"]
    prefix = "import sys; print(sys.prefix)"
    assert kernel.prints(prefix) == f"{PATHS.apps}/{MODULES.python}"
    user.run(make)
    alone = server.kernel("with-module").prints(prefix)
    assert alone == PATHS.jupyter_env, "without a module of Python, it is not Jupyter's"


LISTENS = """import os, pathlib
files = pathlib.Path("/proc/self/fd").iterdir()
mine = {os.readlink(file) for file in files if file.is_symlink()}
tables = [pathlib.Path("/proc/net", name).read_text() for name in ("tcp", "tcp6")]
rows = [line.split() for table in tables for line in table.splitlines()[1:]]
listening = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine]
print("ports:" + str(len(listening)))
"""

# What runs a notebook or a script in a batch job, and prints what that prints.
WITHOUT_A_SERVER = [
    "jupyter run listens.py",
    "jupyter nbconvert --to notebook --execute --stdout listens.ipynb",
    "python3 private_papermill.py --kernel python3 listens.ipynb -",
    "papermill --kernel python3 listens.ipynb -",
    "jupyter execute listens.ipynb --output=executed; cat executed.ipynb",
]

# This program connects to the ports of a kernel on this host, and waits for what the kernel prints.
READS = (ROOT / "tests/data/commands/reads_kernels.py").read_text(encoding="utf-8")


@pytest.mark.claims(
    "``jupyter run`` and ``jupyter nbconvert --execute`` do the same, so :doc:`a notebook in a "
    "batch job <batch>` is safe as well.",
    "If that matters, take ``jupyter nbconvert --execute``, or :ref:`papermill as shown there "
    "<batch-parameters>`.",
    "Nobody else on the node can read what the kernel prints.",
    "do not read that setting. They use TCP,",
    "Plain ``papermill`` takes the same options, but everybody on the node can read what its "
    "kernel prints, and no setting changes that.",
)
@pytest.mark.claims("Take ``private_papermill.py``.")
def test_kernels_without_a_server_cannot_be_read_by_others(user):
    """But those of `jupyter execute` and of plain papermill, whatever the user has set. The others
    use sockets in a folder of their owner, and no port.
    """
    settings = '{"KernelManager": {"transport": "ipc"}}'
    user.run(f"mkdir -p .jupyter; echo '{settings}' > .jupyter/jupyter_config.json")
    user.write("listens.py", LISTENS)
    user.write("listens.ipynb", notebook([LISTENS]))
    user.write("private_papermill.py", pages.read(PAPERMILL))
    script = "\n".join(f"({one}) > listens-{n} &" for n, one in enumerate(WITHOUT_A_SERVER))
    user.ended(user.submit(f"module load {MODULES.jupyter}\n{script}\nwait", "--time=5 --mem=2G"))
    user.run("rm .jupyter/jupyter_config.json")
    printed = [user.run(f"cat listens-{number}") for number in range(len(WITHOUT_A_SERVER))]
    ports = [int(re.search(r"ports:(\d+)", text)[1]) for text in printed]
    assert ports[:3] == [0, 0, 0]
    assert min(ports[3:]) > 1


@pytest.mark.claims("They use TCP, where everybody on the node can read what the kernel prints.")
def test_others_read_what_a_kernel_with_tcp_prints(triton, user):
    """Other users on the same node can read it."""
    code = "import time\nfor _ in range(100):\n    print('a secret')\n    time.sleep(0.3)"
    user.write("prints.ipynb", notebook([code]))
    command = f"echo $$; module load {MODULES.jupyter}; exec jupyter execute prints.ipynb"
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    running = triton.start("login", command, user, **pipes)
    try:
        number = running.stdout.readline().strip()
        look = (
            f"pid=$(pgrep --parent {number} -f ipykernel) && ss --no-header --listening --tcp "
            "--numeric --processes | grep pid=$pid, | grep -o '127.0.0.1:[0-9]*' | cut -d: -f2"
        )
        wait = f"until ports=$({look}) && [ $(echo $ports | wc -w) -ge 5 ]; do sleep 0.2; done"
        listed = triton.run("login", f"{wait}; echo $ports", timeout=PATIENCE).stdout.split()
        read = shlex.join([f"{PATHS.jupyter_env}/bin/python", "-c", READS, *listed])
        assert triton.account().run(read) == "read\n"
    finally:
        user.tries(f"kill {number}")
        running.communicate(timeout=60)


@pytest.mark.claims(
    "Not ``!module load`` in a cell: that line runs in a shell of its own, which ends with the "
    "line and takes the module with it.",
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
    "An R kernel starts without a shell and does not read `.bashrc`; put settings into "
    "`~/.Rprofile`,",
    "look at ``{{ paths.r_kernel }}``.",
)
def test_the_r_kernel_reads_your_rprofile_and_not_your_bashrc(user, server, claim):
    [(not_read, read, *_)] = map(literals, claim)
    assert not_read == ".bashrc"
    user.write("~/new", "export FROM_BASHRC=1; touch ~/bashrc-was-read\n")
    user.run(f"cp .bashrc kept; cat kept >> new; echo 'Sys.setenv(FROM_RPROFILE = 1)' > {read}")
    try:
        user.run("mv new .bashrc")
        user.run("rm bashrc-was-read")  # the shell of this command has read it
        look = "cat(Sys.getenv('FROM_RPROFILE'), file.exists('~/bashrc-was-read'), "
        kernel = server.kernel("ir")
        assert kernel.prints(f"{look} Sys.getenv('FROM_BASHRC', 'unset'))") == "1 FALSE unset"
        everyones = json.loads(user.run(f"cat {PATHS.r_kernel}"))
        make_kernel(user, "my-r", {"FROM_ENV": "1"}, argv=everyones["argv"], language="R")
        assert server.kernel("my-r").prints("cat(Sys.getenv('FROM_ENV'))") == "1"
    finally:
        user.run(f"mv kept .bashrc; rm -f {read} bashrc-was-read")


@pytest.mark.claims(
    "Install packages from R in a terminal, with ``install.packages``: it asks questions, and a "
    "notebook cannot answer them."
)
def test_r_asks_before_it_makes_a_library_in_a_terminal_only(user, server):
    """In a notebook, R cannot ask."""
    install = "install.packages('nothing', repos = 'file:///nowhere')"
    r = "R --quiet --interactive --no-save 2>&1"
    output = user.run(f'module load {MODULES.r}; printf "{install}\\nno\\n" | {r}')
    question = "Would you like to use a personal library instead?"
    assert question in output, output
    reply = server.kernel("ir").execute(install)
    assert reply["status"] == "error" and "unable to install packages" in reply["error"]
    assert question not in str(reply)


@pytest.mark.claims(
    "Put it into ``$WRKDIR``, since your home directory has {{ quota.home }}, and tell R so in "
    "``~/.Renviron``, once:",
    "Then restart the kernel, which takes them from there too.",
    "R writes its version where the percent sign and its letter stand. After a new R, as 4.3 after "
    "4.2, that is another folder: make it with the third line, and install your packages again.",
    "The reason stands above the line that begins with the word ERROR.",
    "``No such file or directory``, and before it a header, whose name ends in a dot and an h:",
    "packages of one R do not work in another. Write "
    '``"R_ENVIRON_USER": "/dev/null"`` into the :ref:`env block of its kernel <kernel-env>`, and '
    "it does not read ``~/.Renviron``.",
)
def test_an_r_library_in_the_work_folder_is_the_kernels_too(user, server):
    """A package is built there. One that needs a file that is not there does not compile."""
    blocks = [[command.text for command in block.commands] for block in pages.blocks(KERNELS)]
    [(names, load, make, look)] = [block for block in blocks if "R_LIBS_USER" in block[0]]
    user.run("mkdir -p mine/R mine/src; echo 'export(hello); useDynLib(mine)' > mine/NAMESPACE")
    user.write("~/mine/R/hello.R", "hello <- function() 'from the library'\n")
    about = "Package: mine\nVersion: 1.0\nTitle: T\nDescription: D.\nLicense: MIT\n"
    user.write("~/mine/DESCRIPTION", f"{about}Author: A\nMaintainer: A <a@example.org>\n")
    user.write("~/mine/src/mine.c", "int mine(void) { return 1; }\n")
    install = "Rscript -e 'install.packages(\"mine\", repos = NULL)' 2>&1"
    try:
        user.run(names)
        library = user.run(f"{load}; {make}; {look}").split('"')[1]
        version = user.run(f"{load}; Rscript -e 'cat(as.character(getRversion()))'")
        assert library == f"{PATHS.work}/{user}/R/{version.rpartition('.')[0]}"
        user.run(f"{load}; {install}")
        assert user.run(f"ls {library}") == "mine\n"
        kernel = server.kernel("ir")
        assert kernel.prints("cat(mine::hello())") == "from the library"
        user.write("~/mine/src/mine.c", "#include <nowhere.h>\n")
        why = user.run(f"{load}; {install}")
        above, line, _ = why.partition("\nERROR: compilation failed")
        assert line and "nowhere.h: No such file or directory" in above, why
        everyones = json.loads(user.run(f"cat {PATHS.r_kernel}"))
        env = {"R_ENVIRON_USER": "/dev/null"}
        make_kernel(user, "their-r", env, argv=everyones["argv"], language="R")
        assert library not in server.kernel("their-r").prints("cat(.libPaths())")
    finally:
        user.run("rm -rf .Renviron mine $WRKDIR/R")


@pytest.mark.claims(
    "Do not mend it with ``pip install --user``: that reaches into every Python of the same "
    "version that is no virtual environment,"
)
def test_user_installs_are_for_every_python_of_the_version(user):
    """pip install --user is for every Python of the same version."""
    make = "python3 -m venv --system-site-packages"
    user.run(f"{make} pythons/one; {make} --without-pip pythons/two")
    look, pip = "pythons/two/bin/python -c 'import fqdn'", "pythons/one/bin/pip"
    assert user.tries(look).returncode
    user.run(f"{pip} install --quiet --user --no-deps fqdn && {look}")
    user.run(f"{pip} uninstall --quiet --yes fqdn; rm -r pythons")


# ---------------------------------------------------------------- files and modules


@pytest.mark.claims(
    "All but ``/tmp`` are the same on the login node, on every compute node and in Jupyter.",
    "``/tmp`` belongs to one node.",
    "the node's; no other node sees them",
)
def test_all_filesystems_but_tmp_are_shared(triton, user, server):
    """The filesystems are the same on login and compute nodes."""
    demo = f"{PATHS.apps}/modulefiles/{MODULES.demo}.lua"
    scratch = f"{PATHS.scratch}/work/{user}/mark"
    user.run(f"echo here | tee ~/mark {scratch} /tmp/mark-{user}")
    shared = f"{PATHS.home}/{user}/mark $WRKDIR/mark {demo}"
    shown = user.tries(f"srun cat {shared} /tmp/mark-{user}")
    assert shown.stdout == "here\nhere\n" + user.run(f"cat {demo}")
    assert f"/tmp/mark-{user}: No such file" in shown.stderr
    count = f"ls {shared} {scratch} /tmp/mark-{user} 2>/dev/null | wc -l"
    nodes = triton.nodes
    everywhere = user.run(f"srun --nodes={len(nodes)} bash -c 'hostname; {count}'").split()
    assert sorted(everywhere) == ["4"] * len(nodes) + sorted(f"{n}.{HOSTS.domain}" for n in nodes)
    assert server.first.prints(f"!{count}") == "4", "Jupyter misses a file"
    # In the other direction, a job's files are on the login node, but not those in its /tmp.
    user.run(f"srun bash -c 'hostname | tee ~/mark $WRKDIR/mark /tmp/from-job-{user}'")
    written = user.tries(f"cat ~/mark $WRKDIR/mark; ls /tmp/from-job-{user}")
    user.run(f"rm ~/mark $WRKDIR/mark /tmp/mark-{user}")
    assert written.stdout.count(HOSTS.domain) == 2 and "No such file" in written.stderr


@pytest.mark.claims(
    "``{{ paths.home }}``, your ``$HOME``",
    "``{{ paths.work }}``, your ``$WRKDIR``",
    "Your files begin in your home directory,",
    "``cd`` alone leads home again.",
    "The variable ``WRKDIR`` holds your own folder there:",
    "``{{ paths.apps }}`` - software for everyone, behind the :doc:`modules <modules>` - read-only",
    "- see what is in a folder, and go into it - ``ls``, ``cd``",
    "Files in your home directory and in ``$WRKDIR`` are yours alone,",
)
def test_the_folders_of_the_table_of_storage_are_as_it_says(user):
    table = {literals(row[0])[0] for row in rows("triton/tut/storage.rst", "Storage")}
    assert table == {PATHS.home, PATHS.work, PATHS.scratch, PATHS.apps, "/tmp"}
    user.run("ls -d " + " ".join(table))
    home, work = f"{PATHS.home}/{user}", f"{PATHS.work}/{user}"
    assert user.run("pwd; echo $HOME; cd $WRKDIR; pwd; cd; pwd").split() == [home, home, work, home]
    assert user.run("srun bash -c 'echo $WRKDIR'").strip() == work
    owners = user.run("touch $WRKDIR/x; stat --format=%U $HOME $WRKDIR $WRKDIR/x; rm $WRKDIR/x")
    assert owners.split() == [user] * 3
    for command in (f"touch {PATHS.apps}/x", f"srun touch {PATHS.apps}/x"):
        assert "Read-only file system" in user.tries(command).stderr


@pytest.mark.claims(
    "``~/.local/share/Trash`` - files that you deleted in JupyterLab; remove it",
    "The biggest files and folders stand last, hidden ones included.",
)
def test_the_biggest_stand_last_in_the_list_of_what_fills_a_home(user, server):
    """A file that was deleted in JupyterLab takes as much room in the trash."""
    page = "triton/tut/storage.rst"
    commands = [command.text for block in pages.blocks(page) for command in block.commands]
    [command] = [command for command in commands if "sort" in command]
    user.run("head -c 900K /dev/zero > less; mkdir .hidden; head -c 3M /dev/zero > .hidden/most")
    user.run("head -c 2M /dev/zero | tee unwanted > more")
    listed = user.run(f"{command}; rm -r less more .hidden")
    sizes = [
        float(size.rstrip("KMG")) * {"K": 1, "M": 1024, "G": 1024**2}.get(size[-1], 0)
        for size in re.findall(r"^\S+", listed, re.MULTILINE)
    ]
    assert sizes == sorted(sizes) and "/.hidden\n" in listed, listed
    assert {"/less", "/more"} <= set(re.findall(r"/\w+$", listed, re.MULTILINE)), listed
    server.talk("ask", "/api/contents/unwanted", None, "DELETE")
    table = rows(page, "storage-full")
    [trash] = [literals(what)[0] for what, to_do in table if "deleted" in to_do]
    assert int(user.run(f"! [ -e unwanted ] && du -sk {trash} && rm -r {trash}").split()[0]) >= 2048


@pytest.mark.claims(
    "It lasts until you log out, in this one shell.",
    "``module purge`` unloads all modules.",
    "A module sets variables, ``PATH`` first of all, so that the shell finds the programs.",
    "Software is installed, but hidden until you load it:",
    "``python`` is also the folder of its environment in ``apps``.",
    "There they change every shell, also the one in which you start ``sjupyter``.",
    "- load software - ``module load``",
)
def test_a_module_lasts_in_one_shell_until_purge_or_exit(triton, user):
    """In .bashrc it is loaded in every shell, and in jobs that start from it."""
    look = "which python3; echo $DEMO_GREETING"
    load = f"module load {MODULES.demo} {MODULES.python}"
    lines = user.run(f"{look}; {load}; {look}; module purge; {look}; module list 2>&1").split("\n")
    hidden, none, python, greeting, hidden_again, none_again, *no_module = lines
    assert (hidden, none) == (hidden_again, none_again) and none == "" != greeting
    assert python == f"{PATHS.apps}/{MODULES.python}/bin/python3" != hidden
    assert "No modules loaded" in " ".join(no_module)
    assert user.run(look).split("\n")[:2] == [hidden, ""]
    user.run(f"cp .bashrc kept; {{ echo 'module load {MODULES.demo}'; cat kept; }} > new")
    try:
        user.run("mv new .bashrc")
        with closing(Terminal(triton, "login", user, PROMPTS)) as terminal:
            *_, printed = terminal.type("srun printenv DEMO_GREETING")[0]
            assert printed == greeting
    finally:
        user.run("mv kept .bashrc")


@pytest.mark.claims(
    "``module avail`` lists what you can load now. ``module spider`` searches everything, and "
    "says what has to be loaded first.",
    "To see what a module would do, without doing it:",
    "A long list stops at each page: the space bar shows the next one, ``q`` ends the list.",
)
def test_avail_spider_and_show_find_modules_and_load_none(triton, user):
    """`avail` lists the modules that can be loaded now, `spider` finds the others.

    One module can only be loaded after another. A list is longer than the screen.
    """
    path = 'prepend_path("MODULEPATH", os.getenv("HOME") .. "/modules/behind")'
    user.run(
        "mkdir -p modules/core/compiler modules/behind/solver; touch modules/behind/solver/1.lua"
    )
    user.write("~/modules/core/compiler/1.lua", path)
    avail, solver, first, show = (
        user.run(f"module use ~/modules/core; module {command} 2>&1")
        for command in ("avail", "spider solver", "spider solver/1", f"show {MODULES.demo}")
    )
    assert MODULES.demo in avail and "compiler/1" in avail and "solver" not in avail
    assert "solver/1" in solver
    assert re.search(r"need to load [^$]*\n\s+compiler/1\n", first), first
    assert "DEMO_GREETING" in show
    assert user.run(f"module show {MODULES.demo}; echo $DEMO_GREETING; rm -r modules") == "\n"
    with closing(Terminal(triton, "login", user, PROMPTS)) as terminal:
        terminal.type("unset LMOD_PAGER PAGER; export TERM=xterm; stty rows 4")
        at_end_of_page = r"[-:\w] ?\x1b\[[0-9;?]*[A-Za-z]$|lines? \d+-\d+\S*"
        for keys in (" q", "q"):
            terminal.screen.sendline("module spider")
            for key in keys:
                terminal.screen.expect(at_end_of_page, timeout=PATIENCE)
                terminal.screen.send(key)
            terminal._wait(PATIENCE)


# ---------------------------------------------------------------- jobs


@pytest.mark.claims(
    "The job starts in the folder where you handed it in.",
    "Without ``--output`` the file is called ``slurm-``, the number, ``.out``.",
    "Slurm keeps a copy of the script when you hand it in: you may edit yours at once. The "
    "programs that it calls are read when they run.",
)
def test_a_job_starts_and_writes_where_it_was_handed_in(user):
    """It runs the script as it was then, and the script's programs as they are now."""
    user.run("mkdir -p $WRKDIR/place; rm -f $WRKDIR/place/*")
    program, script = "~/program", "~/copied.sh"
    user.write(program, "#!/bin/bash\necho old program\n", "755")
    user.write(script, "#!/bin/bash\npwd\necho old script >&2\n~/program\n")
    job = user.run(f"cd $WRKDIR/place; sbatch --parsable --hold --mem=50M {script}").strip()
    user.write(script, "#!/bin/bash\necho new script\n")
    user.write(program, "#!/bin/bash\necho new program\n", "755")
    user.run(f"scontrol release {job}")
    user.ended(job)
    printed = f"{PATHS.work}/{user}/place\nold script\nnew program\n"
    assert user.run(f"cat $WRKDIR/place/slurm-{job}.out") == printed


@pytest.mark.claims(
    "They stand above the first command; further down they are not read.",
    "An option on the command line wins over the same one in the script:",
    "**Often:** a space before `#SBATCH`, or a line of code above it. Slurm does not read such a "
    "line, and says nothing.",
    "``--time=00:05:00`` - the longest it may take: hours, minutes, seconds",
)
def test_the_command_line_wins_over_the_script(user):
    """Slurm does not read options below the first command."""
    for line in (" #SBATCH --job-name=no", "true\n#SBATCH --job-name=no"):
        user.write("~/spaced.sh", f"#!/bin/bash\n#SBATCH --mem=50M --hold\n{line}\n")
        handed_in = user.tries("job=$(sbatch --parsable spaced.sh); scontrol show job $job")
        assert "JobName=spaced.sh" in handed_in.stdout and not handed_in.stderr
    script = (
        "#SBATCH --time=7 --mem=50M\n#SBATCH --comment=above\n# a remark is no command\n"
        "#SBATCH --job-name=above\ntrue\n#SBATCH --job-name=below --mem=60M\n"
    )
    for options, minutes in (("", "00:07:00"), ("--time=01:02:00", "01:02:00")):
        job = user.submit(script, f"--hold {options}", "options.sh")
        details = user.run(f"scontrol show job {job}")
        assert f"TimeLimit={minutes}" in details and "JobName=above" in details
        assert "50M" in details and "60M" not in details
    table = rows("triton/tut/interactive.rst", "Interactive jobs")
    [means] = [means for option, means in table if "--time" in option]
    parts = re.findall(r"(day|hour|minute|second)s", means)
    limit = f"sacct --noheader --jobs={job} --format=TimelimitRaw"
    user.wait_until(f"{limit} | grep -q .")
    seconds = sum(count * UNITS[part] for count, part in zip((1, 2, 0), parts, strict=True))
    assert int(user.run(limit)) * 60 == seconds, "triton/tut/interactive.rst"
    user.run("scancel --me --state=PENDING")


@pytest.mark.claims(
    "``--wait`` comes back when the job has ended,",
    "You get a number, and the job no longer needs you:",
    "It waits (``PD``), runs (``R``), and is gone from the list when it has ended. Errors stand "
    "in ``analysis.out`` too.",
    "``scancel`` with the number stops it.",
    "Stop the job; ``scancel --me`` stops all of yours:",
    "- hand in a job, see it, end it - ``sbatch``, ``squeue --me``, ``scancel``",
    "``squeue`` says how long it has run.",
)
def test_a_job_waits_runs_and_is_gone(triton):
    user = triton.account()
    user.write("~/goes.sh", "#!/bin/bash\nls nothing\nsleep 60\n")
    printed = user.run("sbatch --hold --mem=50M --time=5 --output=goes.out goes.sh")
    job = re.search(r"\d+$", printed.strip())[0]
    letter = f"squeue --me --noheader --jobs={job} --format=%t"
    assert user.run(letter).strip() == "PD"
    user.run(f"scontrol release {job}")
    user.wait_until(f'[ "$({letter})" = R ]')
    user.wait_until("grep -q nothing goes.out")
    user.wait_until(f"squeue --jobs={job} | grep -q ' 0:0[2-9] '")
    user.run(f"scancel {job}")
    user.ended(job)
    jobs = [job, *(user.submit("sleep 600", "--mem=50M --output=/dev/null") for _ in range(2))]
    assert job not in user.run("squeue --me")
    user.run("scancel --me")
    user.ended(*jobs)
    assert {user.state(job)[0].split()[0] for job in jobs} == {"CANCELLED"}
    wait = "sbatch --quiet --wait --mem=50M --output=waited.out --wrap 'sleep 2; echo over'"
    assert user.run(f"{wait}; cat waited.out") == "over\n"


def options_of_the_shown_script():
    """The Slurm options of the page's script, whose parts have the order of the text."""
    lines = pages.read("triton/tut/analysis.sh").splitlines()
    parts = ["#!/bin/bash", "#SBATCH", "module", "python3"]
    kinds = [part for line in lines for part in parts if line.startswith(part)]
    assert [kind for kind, _ in itertools.groupby(kinds)] == parts
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    names = [option.split("=")[0] for option in options]
    assert names == ["--partition", "--time", "--mem", "--output"]
    return options


@pytest.mark.claims(
    "``srun`` and what you need in front of a command, and it runs on a compute node:",
    "You see what it prints, as if it ran here. ``srun`` may say first that the job is ``queued "
    "and waiting for resources``.",
    "``-p {{ partitions.interactive }}`` - the partition: a group of nodes,",
    "``-c 2`` - processor cores,",
    "The lines with ``#SBATCH`` are options for Slurm, the same that ``srun`` takes: the "
    "partition, the longest time, the memory, the file for what it prints.",
    "Then come the modules, then the work.",
    "It is a shell script.",
)
def test_srun_runs_a_command_on_a_compute_node(triton, user):
    """The job has the resources that srun requests."""
    ask = f"srun -p {PARTITIONS.interactive} --time=00:05:00 --mem=100M"
    assert re.fullmatch(rf"\w+\.{re.escape(HOSTS.domain)}\n", user.run(f"{ask} hostname"))
    details = user.run(f"{ask} -c 2 bash -c 'scontrol show job $SLURM_JOB_ID'")
    for has in ("TimeLimit=00:05:00", "MinMemoryNode=100M", "CPUs/Task=2"):
        assert has in details
    assert f"Partition={PARTITIONS.interactive} " in details
    nodes = user.run(f"sinfo --noheader --partition={PARTITIONS.interactive} --format=%D")
    assert int(nodes) == len(triton.nodes) > 1
    options = " ".join(options_of_the_shown_script())
    assert user.run(f"srun {options} echo same; cat analysis.out; rm analysis.out") == "same\n"
    busy = user.submit("sleep 60", "--exclusive --mem=50M --time=5 --output=/dev/null")
    user.state(busy, "RUNNING")
    node = user.run(f"squeue --noheader --jobs={busy} --format=%N").strip()
    waits = f"{ask} --nodelist={node} echo printed > srun.out 2>&1 &"
    user.run(f"{waits} until grep -q resources srun.out; do sleep 0.2; done")
    user.run(f"scancel {busy}")
    user.wait_until("grep -qx printed srun.out")
    output = user.run("cat srun.out")
    assert output.index("queued and waiting for resources") < output.index("printed\n")


@pytest.mark.claims(
    "The prompt changes. You are on another machine, with the same files:",
    "``exit`` gives back what you reserved. Until then it is yours, whether you type or not.",
)
def test_a_shell_on_a_node_is_reserved_until_exit(triton, user):
    names = PROMPTS | {node: node for node in triton.nodes}
    with closing(Terminal(triton, "login", user, names)) as terminal:
        terminal.type("touch of-mine")
        options = f"-p {PARTITIONS.interactive} --time=00:05:00 --mem=100M --job-name=shell"
        terminal.type(f"srun {options} --pty bash")
        node = terminal.host
        assert node in triton.nodes
        assert terminal.type("hostname; rm of-mine") == ([f"{node}.{HOSTS.domain}"], 0)
        listed = "sleep 2; squeue --me --noheader --name=shell --format='%i %t %N'"
        job, *listed = user.run(listed).split()
        assert listed == ["R", node]
        terminal.type("exit")
        assert terminal.host == "login"
        user.ended(job)


@pytest.mark.claims("If your connection breaks, the shell ends, and so does what runs in it.")
def test_an_interactive_shell_ends_with_the_connection(triton, user):
    """The programs of the shell end too."""
    srun = f"srun -p {PARTITIONS.interactive} --time=5 --mem=50M --job-name=broken --pty"
    shell = f"{srun} bash -c '\"hostname; sleep 77\"'"
    with Ssh(triton, "laptop", user, f"-tt {user}@{HOSTS.login} {shell}") as ssh:
        ssh.waits_for(re.escape(HOSTS.domain))
        look = "squeue --me --noheader --name=broken --format='%i %N'"
        job, node = user.run(look).split()
    user.ended(job)
    assert "sleep 77" not in triton.run(node, f"ps -u {user} -o args", check=False).stdout


def asks_for_little(user, name, job):
    """Assert that the script requests each resource and that its job has it, though the partition
    is the default one.
    """
    details = user.run(f"scontrol show job {job}")
    lines = pages.read(name).splitlines()
    for option, has in (
        ("partition", f"Partition={PARTITIONS.batch}"),
        ("time", "TimeLimit=00:05:00"),
        ("mem", "MinMemoryNode=100M"),
    ):
        asks = f"#SBATCH --{option}="
        numbers = [number for number, line in enumerate(lines, 1) if line.startswith(asks)]
        assert numbers and has in details, f"{name}:{(numbers or [1])[0]}: not {has}: {details}"


@pytest.mark.claims(
    "``--array=0-2`` makes three tasks, numbered 0, 1 and 2.",
    "``SLURM_ARRAY_TASK_ID`` holds the number of the task.",
    "``%a`` in the name of the output is the same number, so that tasks do not write into one "
    "file.",
    "A job array runs the same script once for each number, which it finds in "
    "`SLURM_ARRAY_TASK_ID`.",
    "in `--output` of `#SBATCH`, `%a` is the number.",
    "The same program with many inputs is one job with many tasks.",
    "``bash analysis.sh`` runs it here and now, on the login node, as a quick test for mistakes.",
)
def test_the_shown_scripts_do_their_work(user):
    """Modules that were loaded at submission are not in the job, which has the script's alone."""
    cities = ("Helsinki", "Oulu", "Utsjoki")
    tasks = "".join(f"Task {number} of 3: {city}\n" for number, city in enumerate(cities))
    for name, more, out, printed in (
        ("analysis", "echo $LOADEDMODULES", "analysis.out", f"499500\n{MODULES.python}\n"),
        ("array", "", "array_0.out array_1.out array_2.out", tasks),
    ):
        page = f"triton/tut/{name}.sh"
        user.write("~/shown.sh", f"{pages.read(page)}\n{more}\n")
        submit = f"rm -f {out}; module load {MODULES.demo}; sbatch --parsable shown.sh"
        job = user.run(submit).strip()
        asks_for_little(user, page, job)
        user.ended(job)
        output, line = user.tries(f"cat {out}").stdout, len(pages.read(page).splitlines())
        assert output == printed, f"{page}:{line}: it prints {output!r}"
    user.write("~/analysis.sh", pages.read("triton/tut/analysis.sh") + "\nhostname\n")
    output = user.run("rm -f analysis.out; bash analysis.sh; rm analysis.sh; ls")
    assert output.startswith(f"499500\n{HOSTS.login}\n")
    assert "analysis.out" not in output, "the output is in a file, not on the screen"


@pytest.mark.claims(
    "Takes 50 MB and holds them for two minutes.",
    "``--parsable`` prints the bare number of the job, and ``$job`` keeps it for the commands "
    "below.",
    "``scontrol`` knows everything about a job that waits or runs: its folder, its files, its "
    "node. ``sstat`` shows what it has taken up to now; give it some seconds to measure "
    "something.",
)
def test_the_shown_memory_script_holds_what_it_says(user):
    name = "triton/tut/memory.sh"
    user.write("~/memory.sh", pages.read(name))
    job = user.run("job=$(sbatch --parsable memory.sh); echo $job").strip()
    assert job.isdigit(), "--parsable does not print the bare number"
    try:
        asks_for_little(user, name, job)
        waits = user.submit("true", "--hold --mem=50M", "waits.sh")
        user.state(job, "RUNNING")
        home = f"{PATHS.home}/{user}"
        for number, out in ((job, "memory.out"), (waits, f"slurm-{waits}.out")):
            output = user.run(f"scontrol show job {number}")
            assert f"JobId={number} " in output and f"WorkDir={home}\n" in output
            assert f"StdOut={home}/{out}\n" in output, name
            node = rf"^   NodeList={HOSTS.node.rstrip('0123456789')}\d+$"
            assert bool(re.search(node, output, re.MULTILINE)) == (number == job)
        look = f"sstat --allsteps --noheader --parsable2 --jobs={job} --format=JobID,MaxRSS"
        user.wait_until(f"{look} 2>/dev/null | grep -qE 'batch.[5-9][0-9]{{4}}K'")
    finally:
        user.run(f"scancel {job} {waits}")


@pytest.mark.claims(
    "Each is a job of its own, with its own time and memory, and they run side by side as far as "
    "there is room.",
    "In ``squeue --me`` a task is the number of the job, ``_`` and its own number. ``scancel`` "
    "takes that, or the number of the job for all.",
    "``--array=0-999%50`` runs fifty at a time, and leaves room for others.",
    "afterwards those that failed, by their numbers: ``--array=2,5``.",
    "and which numbers it has: `--array=1-9` would be one to nine.",
    "- many independent pieces that take minutes - :doc:`an array job <array>`: no piece "
    "waits for another, one that fails is repeated alone, and nothing has to run beside "
    "them",
)
def test_tasks_of_an_array_have_numbers_and_are_cancelled(user):
    """They can be cancelled one by one or together."""
    limits = "--mem=50M --time=5 --output=/dev/null"
    job = user.submit("sleep 60", f"--array=2,5,7%1 {limits}", "tasks.sh")
    beside = user.submit("sleep 60", f"--array=0-2 {limits}", "tasks.sh")
    list_all = f"squeue --array --noheader --jobs={job} --format='%i %t'"
    user.wait_until(f"{list_all} | grep -q '{job}_2 R'")
    states = [f"{job}_2 R", f"{job}_5 PD", f"{job}_7 PD"]
    assert sorted(user.run(list_all).splitlines()) == states, "more than one task runs at a time"
    user.run(f"scancel {job}_5")
    listed = user.run(list_all)
    assert f"{job}_5" not in listed and f"{job}_7" in listed
    user.run(f"scancel {job}")
    user.ended(job)
    user.wait_until(f"[ $(squeue --noheader --jobs={beside} --states=RUNNING | wc -l) = 3 ]")
    details = user.run(f"scontrol show job {beside}; scancel {beside}")
    assert len(set(re.findall(r"JobId=(\d+)", details))) == 3
    assert details.count("TimeLimit=00:05:00") == details.count("MinMemoryNode=50M") == 3
    page = pages.read("triton/tut/array.rst")
    few, number = re.search(r"``(--array=\S+)`` runs (\w+) at a time", page).groups()
    nine, few = (user.submit("true", f"--hold --mem=50M {some}") for some in ("--array=1-9", few))
    numbers = user.run(f"squeue --array --noheader --jobs={nine} --format=%K").split()
    assert sorted(map(int, numbers)) == list(range(1, 10))
    details = user.run(f"scontrol show job {few}; scancel {nine} {few}").split()
    throttle = f"ArrayTaskThrottle={NUMBERS[number]}"
    assert throttle in details, "triton/tut/array.rst: another number of tasks at once"


# The tables in monitoring.rst list reasons to wait and states of jobs.

NOT_HERE = {
    "QOSMaxJobsPerUserLimit": "only the cluster of a test in test_cluster.py "
    "limits the number of jobs"
}


def submit_jobs_that_wait(user, last):
    """Submit jobs that wait; return their numbers by the reason.

    They wait for a maintenance of the node `last` (a second job, short enough, runs before it), for
    the partition's time limit, for other tasks of an array, and for another job.
    """
    sleep, here = "sleep 60", f"--nodelist={last} --mem=50M --output=/dev/null"
    kept = user.submit(sleep, f"{here} --time=60")
    short = user.submit("true", f"{here} --time=1")
    never = user.submit(sleep, "--time=6-0 --mem=50M")
    tasks = "--array=0-3%1 --mem=50M --time=5 --output=/dev/null"
    array = user.submit(sleep, tasks)
    later = user.submit(sleep, f"--dependency=afterok:{array} --mem=50M")
    assert user.state(short)[0] == "COMPLETED"
    return {
        "ReqNodeNotAvail": kept,
        "PartitionTimeLimit": never,
        "JobArrayTaskLimit": array,
        "Dependency": later,
    }


def assert_no_start_is_expected(user, never):
    """Assert that Slurm expects no start of the job `never`."""
    columns, *lines = map(str.split, user.run("squeue --me --start").splitlines())
    assert columns[-1] == "NODELIST(REASON)" and "START_TIME" in columns[:-1]
    guess = columns.index("START_TIME")
    assert {line[guess] for line in lines if line[0] == never} == {"N/A"}, lines
    assert "StartTime=Unknown" in user.run(f"scontrol show job {never}")


@pytest.mark.claims(
    "A job that asks for less starts sooner.",
    "a job that wants less starts sooner,",
    "The reason stands in the last column, and Slurm's guess of the start before it. ``N/A`` "
    "means that it has not made one.",
    "``Priority`` - others are before you; wait",
    "``Resources`` - you are next, and what you ask for is not free yet; less would be free sooner",
    "``JobArrayTaskLimit`` - your ``%`` in ``--array`` is reached",
    "``ReqNodeNotAvail`` - often a maintenance that begins before your time would be up; ask for "
    "less time",
    "``PartitionTimeLimit`` - more time than the partition allows; it will never start",
    "``Dependency`` - it waits for another job, as you said",
    "What no node can give is refused at once: ``Requested node configuration is not available``.",
)
def test_each_reason_to_wait_that_the_table_names_can_be_seen(triton, user):
    named = {literals(reason)[0] for reason, _ in rows("triton/tut/monitoring.rst", "pending")}
    page = pages.read("triton/tut/monitoring.rst")
    message = re.search(r"is refused at once: ``(.+?)``", page)[1]
    for command in ("srun --mem=9000G hostname", "sbatch --mem=9000G --wrap hostname"):
        assert message in user.tries(command).stderr
    last = sorted(triton.nodes)[-1]
    when = "starttime=now+10minutes duration=10 flags=maint users=root"
    reserve = f"scontrol create reservation reservationname=maintenance-{user} {when} nodes={last}"
    triton.run("login", reserve)
    waiting, large = {}, []
    try:
        waiting = submit_jobs_that_wait(user, last)
        for name, job in waiting.items():
            look = f"squeue --noheader --jobs={job} --states=PENDING --Format=Reason:60"
            user.wait_until(f"{look} | grep -q {name}")
        assert_no_start_is_expected(user, waiting["PartitionTimeLimit"])
        # The first task of the array goes on, so that one node is not free.
        user.run("scancel --me --state=PENDING")
        nodes = f"--partition={PARTITIONS.interactive} --nodes={len(triton.nodes)} --exclusive"
        whole = f"{nodes} --mem=50M --time=5 --output=/dev/null"
        large = [user.submit("sleep 60", whole) for _ in range(3)]
        look = f"squeue --noheader --sort=i --jobs={','.join(large)} --states=PENDING"
        reasons = f"{look} --Format=Reason:60 | xargs"
        user.wait_until(f"{reasons} | grep -qxE 'Resources Priority( Priority)?'")
        less = user.submit("true", "--mem=50M --time=1 --output=/dev/null")
        assert user.state(less)[0] == "COMPLETED", "one node is not enough"
        assert user.run(f"squeue --noheader --jobs={large[2]} --format=%t") == "PD\n"
        assert named == {*waiting, "Resources", "Priority", *NOT_HERE}
    finally:
        jobs = [*waiting.values(), *large]
        user.tries(f"scancel --me --state=PENDING; scancel {' '.join(jobs)}")
        triton.run("login", f"scontrol delete reservation=maintenance-{user}")


@pytest.mark.claims(
    "The first line is the job, the others are its steps: ``batch`` is the script, and each "
    "``srun`` in it has a line. ``MaxRSS``, the peak of the memory, stands at the steps; "
    "``ReqMem`` is what you asked for.",
    "It takes a few seconds after the end until the last line is right.",
    "``Elapsed`` is the time, ``MaxRSS`` the memory;",
    "After a job, Slurm tells the same: `MaxRSS`, the most memory that was in use",
    "Without ``--jobs`` you see today's jobs, and after midnight none of yesterday. For a "
    "week: ``sacct --starttime=now-7days``.",
    "A job of a few seconds, or one that was killed for its memory, may show far too little.",
    "of a job that took only seconds it says too little.",
)
def test_sacct_tells_peaks_of_steps_and_lists_todays_jobs(triton, user):
    """It shows too little memory for a short job.

    No job is older than the cluster, so the test sets the dates of this one back, to the evening
    of yesterday and then by two days more.
    """
    hold = "python3 -c 'held = bytearray(60_000_000); import time; time.sleep(3)'"
    job = user.submit(f"{hold}; srun true; srun true", "--mem=150M --output=/dev/null", "peak.sh")
    hold = "python3 -c 'held = bytearray(300_000_000)'"
    brief = user.submit(hold, "--mem=500M --output=/dev/null", "brief.sh")
    user.ended(job, brief)
    fields = "--parsable2 --units=M --format=JobID,ReqMem,MaxRSS,Elapsed,State"
    ask = f"sacct --noheader {fields} --jobs"
    # The accounting receives the job and its steps one after the other.
    user.wait_until(f"{ask}={brief}.batch | grep -q COMPLETED")
    user.wait_until(f"{ask}={job} | grep -q '^{job}|150M.*COMPLETED'")
    user.wait_until(f"{ask}={job}.batch | grep -q 'M|.*COMPLETED'")
    first, *steps = (line.split("|") for line in user.run(f"{ask}={job}").splitlines())
    steps = [step for step in steps if "extern" not in step[0]]
    assert first[:3] == [job, "150M", ""]
    assert [step[0] for step in steps] == [f"{job}.{name}" for name in ("batch", "0", "1")]
    hours, minutes, seconds = map(int, first[3].split(":"))
    assert 3 <= hours * 3600 + minutes * 60 + seconds < PATIENCE
    assert 60 < float(steps[0][2].rstrip("M")) < 150
    peak = user.run(f"{ask}={brief}.batch").split("|")[2]
    assert float(peak.rstrip("M") or 0) < 300
    listed = "sacct --noheader --parsable2 --allocations --format=JobID"
    user.wait_until(f"{listed} | grep -qx {brief}")
    times = [f"time_{what}" for what in ("submit", "eligible", "start", "end")]
    jobs = f"{FACTS.cluster.name.lower()}_job_table"
    today = int(user.run("echo $(($(date +%s) - $(date --date=0:00 +%s)))"))
    for seconds, since in ((min(today + 60, 86_000), "now-1days"), (172_800, "now-7days")):
        earlier = ", ".join(f"{time} = {time} - {seconds}" for time in times)
        sql = f"update {jobs} set {earlier} where id_job = {brief}"
        triton.run("ctl", f"mariadb slurm_acct --execute='{sql}'")
        assert brief not in user.run(listed).split()
        assert brief in user.run(f"{listed} --starttime={since}").split()
    asked = [
        command.text
        for page in pages.sources()
        for block in pages.blocks(page)
        for command in block.commands
        if command.text.startswith("sacct") and "--jobs" not in command.text
    ]
    assert len(asked) > 3 and all("--starttime=now-" in command for command in asked), asked


# ---------------------------------------------------------------- git


@pytest.mark.claims(
    "In this example a core weighs 1, and a gigabyte of memory a quarter.",
    "Each amount is taken times its weight, and the sum is the bill: 1 for the core and 2 for the "
    "memory.",
    "What counts is what a job *reserves*, used or not, as long as it runs.",
    "What a job of one core and 8 GB bills:",
)
def test_the_bill_of_a_job_is_the_sum_of_its_weighed_amounts(user):
    shown = user.run(f"scontrol show partition {PARTITIONS.batch}")
    core, memory = re.search(r"TRESBillingWeights=CPU=([\d.]+),Mem=([\d.]+)G", shown).groups()
    assert (float(core), float(memory)) == (1, 0.25)
    page = pages.read("triton/tut/first-day.rst").partition("_what-it-costs:")[2]
    assert re.search(r"sbatch --wait --mem=(\d+)G ", page)[1] == "8"
    for cores, gigabytes in ((1, 8), (4, 2)):
        job = user.submit("sleep 60", f"--cpus-per-task={cores} --mem={gigabytes}G")
        bill = int(float(core) * cores + float(memory) * gigabytes)
        user.wait_until(f"scontrol show job {job} | grep -q ',billing={bill}$'")
        user.run(f"scancel {job}")


@pytest.mark.claims(
    "``--ours`` is your branch, ``--theirs`` the one that you merge; in a rebase it is the other "
    "way round."
)
def test_ours_and_theirs_change_places_in_a_rebase(user, claim):
    """In a merge, they are as the page says."""
    [(ours, theirs, *_)] = map(literals, claim)
    branches = (
        "git init -q -b main; git config user.name x; git config user.email x@example.org; "
        "echo base > a; git add a; git commit -qm base; git switch -qc experiment; echo "
        "experiment > a; git commit -qam e; git switch -q main; echo mine > a; git commit -qam m"
    )
    take = f"git checkout -q {ours} a; cat a; git checkout -q {theirs} a; cat a"
    merge = f"git merge -q experiment; {take}; git merge --abort"
    rebase = f"git rebase -q experiment; {take}; cd; rm -rf conflict"
    printed = user.run(f"mkdir conflict; cd conflict; {branches}; {merge}; {rebase}", "laptop")
    shown = [line for line in printed.splitlines() if line in ("mine", "experiment")]
    assert shown == ["mine", "experiment", "experiment", "mine"]


@pytest.mark.claims(
    "what Jupyter and Python leave behind .ipynb_checkpoints/ __pycache__/ settings and "
    "passwords of one person .env big, and made or fetched again by a program data/raw/ results/"
)
def test_the_gitignore_hides_what_is_made_and_private(user):
    """It hides files that programs make, and files of one person."""
    leave = (
        "import importlib.util, jupyter_server.services.contents.filecheckpoints as kept; print("
        "kept.FileCheckpoints().checkpoint_dir, importlib.util.cache_from_source('a.py'))"
    )
    python = shlex.join([f"{PATHS.jupyter_env}/bin/python", "-c", leave])
    checkpoints, compiled = user.run(python).split()
    kept = [".gitignore", "a.ipynb", "data/small.csv"]
    made = [f"{checkpoints}/a.ipynb", compiled, ".env", "data/raw/large.csv", "results/plot.png"]
    files = " ".join(made + kept)
    user.run(f"git init -q ignored; cd ignored; mkdir -p $(dirname {files}); touch {files}")
    user.write("~/ignored/.gitignore", pages.read("scicomp/gitignore"))
    look = "cd ignored; git status --short --untracked-files=all; rm -rf ~/ignored"
    status = user.run(look).split()
    assert status[1::2] == kept, f"scicomp/gitignore: git sees {status}"


@pytest.mark.claims(
    "``pipx`` gives it an environment of its own, where it does not slow down the imports of "
    "other programs. Git looks for its parts by name, so ``~/.local/bin`` has to be in your "
    "``PATH``: ``pipx ensurepath`` sees to that for every new terminal, and ``exec bash`` "
    "makes this one new."
)
def test_pipx_gives_nbdime_an_environment_of_its_own(triton):
    """A new terminal finds nbdime."""
    user = triton.account()
    bare = "env -i HOME=$HOME TERM=dumb PATH=/usr/bin:/bin bash -ic 'command -v git-nbdiffdriver'"
    install = "pipx install --pip-args=--no-compile nbdime > /dev/null"
    look = f"{bare}; python3 -c 'import nbdime'"
    # All in one terminal, which has no such folder in its PATH.
    done = user.tries(f"{install}; {look}; pipx ensurepath > /dev/null", "laptop")
    assert done.stdout == "" and "No module named 'nbdime'" in done.stderr
    found = user.run(bare, "laptop").strip()
    assert found == f"{PATHS.home}/{user}/.local/bin/git-nbdiffdriver"
    enable = "PATH=$PATH:~/.local/bin; nbdime config-git --enable --global"
    settings = user.run(f"{enable}; git config diff.jupyternotebook.command", "laptop")
    assert settings.startswith("git-nbdiffdriver "), "git does not find nbdime by name"


@pytest.mark.claims("JupyterLab with jupytext then saves both.")
def test_a_pair_is_saved_as_both_halves(user, server):
    content = json.loads(notebook(["x = 1"]))
    content["metadata"] = {"jupytext": {"formats": "ipynb,md:myst"}}
    server.talk("ask", "/api/contents/pair.ipynb", {"type": "notebook", "content": content}, "PUT")
    assert "x = 1" in user.run("cat pair.md; grep -c outputs pair.ipynb; rm pair.*")


@pytest.mark.claims(
    "On {{ cluster.name }} it is there, and :doc:`one command </triton/apps/jupyter/git>` sets "
    "it up.",
    "It uses the centrally installed nbdime by its absolute path, so it works whatever modules "
    "you have loaded, and from any directory.",
)
@pytest.mark.parametrize(
    ("where", "module", "folder"),
    [
        ("repository", f"module load {MODULES.python}", "deep"),
        ("repository/deep/down", "module purge", "deep/.."),
        ("worktree", f"module load {MODULES.demo}", "deep/../deep"),
    ],
)
def test_nbdime_git_is_enabled_from_any_directory(triton, user, where, module, folder):
    """The directory is in the repository or in a second worktree."""
    user.run(
        """set -e; rm -rf git-test; mkdir git-test; cd git-test
        git init --quiet --initial-branch=main repository; cd repository
        git config user.name R; git config user.email r@example.org; mkdir -p deep/down
        cat > deep/analysis.ipynb; git add .; git commit --quiet -m one
        git worktree add --quiet ../worktree""",
        input=notebook(["mean = 1"]),
    )
    user.run(f"module purge; cd git-test/{where}; nbdime-git enable")
    tree = f"git-test/{where.split('/')[0]}"
    assert PATHS.jupyter_env in user.run(f"cd {tree}; git config diff.jupyternotebook.command")
    user.write(f"{tree}/deep/analysis.ipynb", notebook(["mean = 2"]))
    with closing(Terminal(triton, "login", user, PROMPTS)) as terminal:
        terminal.type(f"{module}; cd {tree}/{folder}")
        lines, status = terminal.type("git diff")
    text = "\n".join(lines)
    assert status == 0 and "mean = 2" in text, text
    assert '"cells"' not in text and '"source"' not in text, text
    # In a pipe, git prints a normal patch.
    patch = "git diff | tee ../p.patch; git checkout --quiet .; git apply ../p.patch"
    printed = user.run(f"cd {tree}; {patch} && git diff --quiet; echo $?")
    assert '"source": "mean = 2"' in printed and printed.endswith("\n1\n")


# ---------------------------------------------------------------- GPUs

needs_gpus = pytest.mark.skipif(not FACTS.gpus, reason="triton/facts.toml has no GPUs")


def with_gpu(more=""):
    """Options that ask for a GPU of the first type, or for more, as ":2"."""
    gpu = FACTS.gpus[0]
    return f"--partition={gpu.partition} --gres=gpu:{gpu.type}{more} --mem=50M --time=5"


@needs_gpus
@pytest.mark.claims(
    "A GPU belongs to one job at a time.",
    "What is taken at the moment lets you wait, with the reason ``Resources``.",
    "The GPU is yours while you read, think and have lunch; nobody else can use it then,",
    "``CUDA_VISIBLE_DEVICES`` is the number of the GPU on its node. Slurm sets it,",
    "``--gres=gpu:{{ gpu.type }}:1`` asks for one of a type:",
    "Both wait until one is free: ``sinfo``, as above, shows which are taken.",
)
def test_a_gpu_is_given_to_one_job_at_a_time(user):
    """Two jobs have the two GPUs of a type, and do nothing. A third waits until one has ended."""
    script = "echo $CUDA_VISIBLE_DEVICES; sleep 300"
    options = f"{with_gpu()} --output=gpu-%j"
    idle = [user.submit(script, options) for _ in range(2)]
    assert [user.state(job, "RUNNING")[0] for job in idle] == ["RUNNING"] * 2
    third = user.submit("echo $CUDA_VISIBLE_DEVICES", options)
    look = f"squeue --noheader --jobs={third} --format='%t %r'"
    user.wait_until(f'[ "$({look})" = "PD Resources" ]')
    kind = FACTS.gpus[0]
    [sinfo] = re.findall(rf"\$ (sinfo -p {kind.partition} .*)", pages.read("triton/tut/gpu.rst"))
    assert f" gpu:{kind.type}:2(" in user.run(sinfo)
    user.run(f"scancel {idle[0]}")
    assert user.state(third)[0] == "COMPLETED"
    had = [user.run(f"cat gpu-{job}").split()[0] for job in (*idle, third)]
    assert had[0] != had[1] and had[2] == had[0]
    user.run(f"scancel {idle[1]}")


@needs_gpus
@pytest.mark.claims(
    "So is a type that is misspelt, or more GPUs than a node has.",
    "Ask for a GPU with ``--gres=gpu:1``, in a partition that has some:",
    "What no node of the partition has is refused at once, as here with ``-p {{ "
    "partitions.interactive }}``:",
)
def test_a_gpu_that_no_node_has_is_refused_at_once(user):
    says = "Requested node configuration is not available"
    user.run(f"srun {with_gpu(':2')} true")
    for more in ("x", ":99"):
        assert says in user.tries(f"srun {with_gpu(more)} true").stderr
    ask = "srun -p {} --gres=gpu:1 --mem=50M true"
    user.run(ask.format(PARTITIONS.gpu))
    assert says in user.tries(ask.format(PARTITIONS.interactive)).stderr


@needs_gpus
@pytest.mark.claims("In a notebook it is the same variable, ``%env CUDA_VISIBLE_DEVICES``.")
def test_a_notebook_knows_the_gpu_of_its_job(triton, user):
    options = with_gpu().replace("50M", "2G")
    with Server(triton, user, options) as running:
        assert running.kernel().execute("%env CUDA_VISIBLE_DEVICES")["result"].strip("'").isdigit()


# ---------------------------------------------------------------- last: a job runs a minute


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
    "``TIMEOUT`` - its ``--time`` was up",
    "``--mem=100M`` - the most memory it may take",
    "When the time is up, or the memory exceeded, Slurm ends the job.",
    "one that exceeds its memory or time is killed.",
    "Ask for too little, and the job is killed.",
)
def test_how_a_job_ended_is_as_the_table_says(triton, user, out_of_time):
    table = rows("triton/tut/monitoring.rst", "how-it-ended")
    assert {literals(name)[0] for name, _ in table} == {*HOW_IT_ENDS, "TIMEOUT"}
    last, by_cgroup = sorted(triton.nodes)[-1], triton.memory == "cgroup"
    jobs = {}
    for name, (script, _) in HOW_IT_ENDS.items():
        where = f"--nodelist={last} --no-requeue" if name == "NODE_FAIL" else ""
        options = f"--mem=50M --time=5 --output=out-{name} {where}"
        jobs[name] = user.submit(script, options, f"{name}.sh")
    by_root = user.submit("sleep 60", "--mem=50M --output=/dev/null", "by-root.sh")
    for name in ("CANCELLED", "NODE_FAIL"):
        assert user.state(jobs[name], "RUNNING")[0] == "RUNNING"
    user.run(f"scancel {jobs['CANCELLED']}")
    triton.run("login", f"scancel {by_root}")
    triton.run("login", f"scontrol update nodename={last} state=down reason=test")
    try:
        ends = {name: user.state(job) for name, job in jobs.items()}
    finally:  # the node may have come back by itself
        triton.run("login", f"scontrol update nodename={last} state=resume", check=False)
    assert user.state(by_root)[0] == "CANCELLED by 0"
    column = f"sacct --noheader --allocations --jobs={jobs['CANCELLED']} --format=State"
    cancelled = f"CANCELLED by {user.run('id -u').strip()}"
    assert [user.run(column + size).strip() for size in ("", "%20")] == ["CANCELLED+", cancelled]
    for name, (_, code) in HOW_IT_ENDS.items():
        expected = "FAILED" if name == "OUT_OF_MEMORY" and not by_cgroup else name
        assert ends[name][0].startswith(expected), f"{name}: {ends[name]}"
        assert ends[name][1] == code or not code or expected != name
    assert user.run("cat out-FAILED") == "why\n"
    output = user.run("cat out-OUT_OF_MEMORY")
    [promised] = [literals(text) for name, text in table if "OUT_OF_MEMORY" in name]
    words = promised[1:3] if by_cgroup else ["exceeded", "Exceeded"]
    assert any(word in output for word in words), output
    idle = f"until sinfo --noheader --nodes={last} --format=%t | grep -q idle; do sleep 0.2; done"
    triton.run("login", idle, timeout=PATIENCE)
    assert user.state(out_of_time)[0] == "TIMEOUT"
    assert "DUE TO TIME LIMIT" in user.run("cat out-of-time")
