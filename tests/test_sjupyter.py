"""sjupyter on the small cluster: a server starts, is reached in each way that is printed, outlives its terminal, and says why it ended."""
import concurrent.futures
import json
import re
import shlex
import subprocess
import time

import pytest
from conftest import ROOT
from guide.terminal import Terminal
from triton import PROMPTS, Triton, cluster

FACTS = cluster.facts()


@pytest.fixture(scope="module")
def user(triton):
    return triton.account()


@pytest.fixture
def clean(triton, user):
    """The account without servers."""
    yield user
    triton.run("login", "scancel --me; for i in $(seq 50); do [ -z \"$(squeue --me --noheader)\" ] && break; sleep 0.1; done", user)


class Started:
    """`sjupyter` with `options`, attached, and what it printed as JSON when the server answered."""

    def __init__(self, triton, user, options="", before=""):
        self.triton = triton
        self.process = triton.start("login", f"{before} exec sjupyter --json {options}", user, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    stdin=subprocess.DEVNULL)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"sjupyter {options} ended with {self.process.wait()}: {self.process.stderr.read()}")
        self.said = json.loads(line)
        self.job, self.url = self.said["job"], self.said["url"]

    def end(self, seconds=60):
        """Wait for its end; return (exit status, last line of its output, errors)."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, json.loads(out.splitlines()[-1]) if out.strip() else {}, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:    # a signal to it would end here, at the cluster's door
            self.triton.run("login", f"scancel {self.job}")
            self.process.communicate(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()


def answers(triton, url, host="login"):
    """The HTTP status that `url` has, asked for on `host`; 000 if there is no answer."""
    return triton.run(host, f"curl --silent --output /dev/null --max-time 5 --write-out '%{{http_code}}' {shlex.quote(url)}", check=False).stdout


def without_token(url):
    return url.partition("?")[0].replace("/lab", "/api/contents")


# ---------------------------------------------------------------- reaching it

WAYS = {
    "the proxy, inside": ("laptop", "proxy", "curl --silent --socks5-hostname localhost:{port} {url}"),
    "the proxy, outside": ("outside", "proxy_outside", "curl --silent --socks5-hostname localhost:{port} {url}"),
    "one port, inside": ("laptop", "forward", "curl --silent {forward_url}"),
    "one port, outside": ("outside", "forward_outside", "curl --silent {forward_url}"),
}


@pytest.fixture(scope="module")
def server(triton, user):
    with Started(triton, user, "-t 10 --mem=1G --browser-file=open.html") as started:
        yield started
        triton.run("login", f"scancel {started.job}", user)


@pytest.mark.parametrize("way", WAYS)
def test_each_printed_way_leads_to_the_server_when_pasted(triton, user, server, way):
    host, line, ask = WAYS[way]
    terminal = Terminal(triton, host, user, PROMPTS)
    try:
        terminal.type(server.said[line])
        assert terminal.host == "login", "the line opens a shell on the login node"
        command = ask.format(port=FACTS["proxy"]["port"], url=shlex.quote(server.url), forward_url=shlex.quote(server.said["forward_url"]))
        page = triton.run(host, f"{command} --location --cookie-jar /dev/null | grep -io '<title>[^<]*'", user).stdout
        assert "<title>JupyterLab" in page
    finally:
        terminal.close()


def test_the_browser_file_leads_there_and_is_for_its_owner_alone(triton, user, server):
    listed = triton.run("login", "stat --format=%a open.html; cat open.html", user).stdout
    assert listed.startswith("600\n") and f'href="{server.url}"' in listed


# ---------------------------------------------------------------- safety

def test_the_token_is_nowhere_where_others_look(triton, user, server):
    token = server.url.partition("token=")[2]
    node = server.said["node"]
    other = triton.account()
    seen = triton.run(node, "ps auxeww; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'", other, check=False).stdout
    seen += triton.run("login", f"scontrol show job {server.job}; squeue --format=%all; sacct --allusers --format=ALL; scontrol write batch_script {server.job} -; "
                       f"cat ~{user}/.local/share/sjupyter/*/* ~{user}/open.html; ls -R ~{user}", other, check=False).stdout
    assert "jupyter" in seen and token not in seen
    # nor in what its owner might show around
    mine = triton.run(node, "ps auxeww; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'", user, check=False).stdout
    mine += triton.run("login", f"scontrol show job {server.job}; cat .local/share/sjupyter/*/job.sh", user).stdout
    assert "JUPYTER_TOKEN_FILE" in mine and token not in mine


def test_without_the_token_nobody_gets_in(triton, server):
    assert answers(triton, without_token(server.url)) == "403"
    assert answers(triton, server.url) in ("200", "302")


def test_the_server_listens_on_the_nodes_cluster_address_only(triton, server):
    port = re.search(r":(\d+)/", server.url)[1]
    listening = triton.run(server.said["node"], f"ss --listening --tcp --numeric --no-header 'sport = :{port}'").stdout.split()
    assert listening.count("LISTEN") == 1 and f"10.44.0.11:{port}".rpartition(".")[0] in " ".join(listening)


def test_files_are_for_their_owner_alone_whatever_the_umask(triton, user, clean):
    with Started(triton, user, "-t 5", before="umask 0000;") as started:
        triton.run("login", f"scancel {started.job}", user)
        started.end()
    listed = triton.run("login", "find .local/share/sjupyter -printf '%y %m %p\\n'", user).stdout.splitlines()
    assert len(listed) > 5
    assert not [line for line in listed if line.split()[1] not in ("700" if line[0] == "d" else "600",)]


STRANGE = ["a b", "a;touch pwned", "$(touch pwned)", "`touch pwned`", "a\"b", "a'b", "a\\b", "%j", "*", "-x", "a\ntouch pwned", "#SBATCH", "é"]


@pytest.mark.parametrize("word", STRANGE)
def test_a_strange_word_arrives_as_one_argument(triton, user, clean, word):
    quoted = shlex.quote(word)
    job = json.loads(triton.run("login", f"sjupyter --json --detach --hold -t 5 --comment={quoted}", user).stdout)["job"]
    shown = triton.run("login", f"squeue --jobs={job} --noheader --Format='comment:|'; ls pwned", user, check=False).stdout
    assert shown.split("|")[0].strip() == word.strip() and "pwned\n" not in shown.partition("|")[2]


def test_a_folder_and_jupyter_options_with_strange_words_arrive(triton, user, clean):
    folder = "a 'b' $(touch pwned); \"c\""
    triton.run("login", f"mkdir -p {shlex.quote(folder)}", user)
    with Started(triton, user, f"-t 5 --dir {shlex.quote(folder)} -- {shlex.quote('--ServerApp.custom_display_url=x $(touch pwned)')}") as started:
        assert triton.run("login", "ls pwned */pwned", user, check=False).stdout == ""
        row = json.loads(triton.run("login", "sjupyter --list --json", user).stdout)
        assert row["dir"].endswith("/" + folder) and row["job"] == started.job


# ---------------------------------------------------------------- living on, and ending

def test_it_outlives_its_terminal_and_attach_is_back(triton, user, clean):
    terminal = Terminal(triton, "login", user, PROMPTS)
    terminal.screen.sendline("sjupyter -t 5")
    terminal.screen.expect(r"Open, in a browser that uses the proxy:\s+(http\S+)", timeout=60)
    url = terminal.screen.match[1]
    terminal.close()
    time.sleep(2)
    assert answers(triton, url) in ("200", "302")
    again = Terminal(triton, "login", user, PROMPTS)
    again.screen.sendline("sjupyter --attach")
    again.screen.expect_exact(url, timeout=30)
    again.screen.expect("and open:", timeout=10)
    time.sleep(0.5)
    again.screen.send("\x03")
    again.screen.expect("Ctrl-C again ends job", timeout=10)
    assert answers(triton, url) in ("200", "302"), "the first Ctrl-C ends nothing"
    again.screen.send("\x03")
    again.screen.expect(r"Job \d+ is ended", timeout=10)
    again.close()
    for _ in range(50):
        if answers(triton, url) == "000":
            return
        time.sleep(0.2)
    pytest.fail("the job did not end")


def test_list_stop_and_logs_know_what_runs_and_forget_what_has_ended(triton, user, clean):
    with Started(triton, user, "-t 5 --mem=700M") as first, Started(triton, user, "-t 5 --notebook") as second:
        rows = {row["job"]: row for row in map(json.loads, triton.run("login", "sjupyter --list --json", user).stdout.splitlines())}
        assert set(rows) == {first.job, second.job}
        assert rows[first.job]["state"] == "ready" and rows[first.job]["asked"] == "700M" and 20 < rows[first.job]["memory_mb"] < 700
        assert rows[first.job]["address"] in first.url and "/tree?" in second.url
        table = triton.run("login", "sjupyter --list", user).stdout
        assert re.search(rf"^{first.job} +{first.said['node']} +ready ", table, re.MULTILINE)
        which = triton.run("login", "sjupyter --stop", user, check=False)
        assert (which.returncode, which.stderr) == (1, f"sjupyter: Which one? {first.job}, {second.job}\n")
        assert triton.run("login", f"sjupyter --stop {first.job}", user).stdout == f"Job {first.job} is ended.\n"
        status, said, _ = first.end()
        assert status == 1 and said["reason"].startswith("It was cancelled")
        assert [row.split()[0] for row in triton.run("login", "sjupyter --list", user).stdout.splitlines()[1:]] == [second.job]
        assert "ServerApp" in triton.run("login", f"sjupyter --logs {first.job}", user).stdout
        other = triton.run("login", f"sjupyter --stop {second.job}", triton.account(), check=False)
        assert other.returncode == 1 and "No server of yours" in other.stderr


def execute(triton, user, started, code):
    """Run `code` in a kernel of the server, on its node, without waiting for it to end."""
    token = started.url.partition("token=")[2]
    base = started.url.partition("/lab")[0]
    script = f"""
import json, urllib.request, websocket, uuid
def call(path, data=None):
    request = urllib.request.Request({base!r} + path, data=data, headers={{"Authorization": "token {token}"}}, method="POST" if data is not None else "GET")
    return json.load(urllib.request.urlopen(request))
kernel = call("/api/kernels", b'{{"name": "python3"}}')["id"]
socket = websocket.create_connection({base.replace('http', 'ws', 1)!r} + f"/api/kernels/{{kernel}}/channels", header=["Authorization: token {token}"])
socket.send(json.dumps({{"channel": "shell", "parent_header": {{}}, "metadata": {{}}, "buffers": [], "header": {{"msg_id": uuid.uuid4().hex, "msg_type": "execute_request",
    "username": "", "session": uuid.uuid4().hex, "version": "5.3"}}, "content": {{"code": {code!r}, "silent": False}}}}))
import time
time.sleep(3)
"""
    triton.run("login", f"{FACTS['paths']['jupyter_env']}/bin/python -", user, input=script)


def test_the_end_by_memory_is_told_with_what_was_asked_and_what_to_ask_for(triton, user, clean):
    with Started(triton, user, "-t 5 --mem=400M") as started:
        execute(triton, user, started, "x = bytearray(900_000_000); import time; time.sleep(60)")
        if triton.memory == "cgroup":     # only the kernel was killed: the server goes on, and says it at its end
            triton.run("login", f"sjupyter --stop {started.job}", user)
        status, said, err = started.end()
    assert status == 1
    assert re.match(r"It took more memory than it had: asked for 400 MB, peak seen \d+ MB\. Ask for more, --mem=\d+M", said["reason"]), said
    assert int(re.search(r"--mem=(\d+)M", said["reason"])[1]) >= 800


def test_the_time_limit_is_announced_and_told(triton, user, clean):
    triton.run("login", "mkdir -p limited", user)
    with Started(triton, user, "-t 1 --dir limited") as started:
        for _ in range(100):
            notice = triton.run("login", "cat limited/sjupyter-*-ends-soon.txt", user, check=False).stdout
            if notice:
                break
            time.sleep(0.2)
        assert re.fullmatch(r"The time of this Jupyter server is up at about \d\d:\d\d\. Save your notebooks now\.\n", notice)
        status, said, _ = started.end(seconds=150)
    assert status == 1 and said["reason"].startswith("Its time was up (00:01:00)")


def test_a_node_that_fails_is_told(triton, user, clean):
    with Started(triton, user, "-t 5 -w c4") as started:
        triton.run("ctl", "scontrol update nodename=c4 state=down reason=test")
        try:
            status, said, _ = started.end()
        finally:
            triton.run("ctl", "scontrol update nodename=c4 state=resume", check=False)   # it may be back already
    assert (status, said["reason"]) == (1, "The node c4 failed. That is not your fault: start it again.")


def test_shutting_it_down_from_the_browser_is_a_good_end(triton, user, clean):
    with Started(triton, user, "-t 5") as started:
        token = started.url.partition("token=")[2]
        triton.run("login", f"curl --silent --fail -X POST -H 'Authorization: token {token}' {started.url.partition('/lab')[0]}/api/shutdown", user)
        assert started.end()[:2] == (0, {"job": started.job, "state": "ended", "reason": "It was shut down."})


# ---------------------------------------------------------------- engines

def test_engines_of_ipyparallel_run_beside_it_and_end_with_it(triton, user, clean):
    ask = "import ipyparallel, socket; client = ipyparallel.Client({!r}); client.wait_for_engines(2, timeout=60); print(*client[:].apply_sync(socket.gethostname))"
    with Started(triton, user, "--mem=2G -c 2 --cluster 2") as started:
        said = triton.run("login", f"cat $(grep -l '\"job\": \"{started.job}\"' .local/share/sjupyter/*/said.json)", user).stdout
        connection = json.loads(said)["connection_file"]
        printed = triton.run(started.said["node"], shlex.join([f"{FACTS['paths']['jupyter_env']}/bin/python", "-c", ask.format(connection)]), user).stdout
        assert [host.split(".")[0] for host in printed.split()] == [started.said["node"]] * 2
        triton.run("login", f"sjupyter --stop {started.job}", user)
        started.end()
    assert "ipyparallel" not in triton.run(started.said["node"], f"for i in $(seq 50); do pgrep -u {user} > /dev/null || break; sleep 0.2; done; ps -u {user} -o args",
                                           check=False).stdout


# ---------------------------------------------------------------- what goes wrong

WRONG = {
    "unknown partition": ("sjupyter -p nowhere", 1, "Slurm says: sbatch: error: invalid partition specified: nowhere"),
    "unknown option": ("sjupyter --mme=4G", 1, "Slurm says: sbatch: unrecognized option '--mme=4G'"),
    "a word that is none": ("sjupyter analysis.ipynb", 2, "What is 'analysis.ipynb'? Slurm's options begin with a dash"),
    "a script behind an option": ("printf '#!/bin/sh\\n' > evil.sh; sjupyter --exclusive evil.sh", 1, "Slurm says: "),
    "a script behind a flag": ("printf '#!/bin/sh\\n' > evil.sh; sjupyter --hold evil.sh", 1, "Slurm says: sbatch: option '--hold' doesn't allow an argument"),
    "a script behind a short flag": ("printf '#!/bin/sh\\n' > evil.sh; sjupyter -H evil.sh", 2, "What is 'evil.sh'?"),
    "a value that is missing": ("sjupyter --dir", 2, "--dir needs a value"),
    "no number": ("sjupyter --wait soon", 2, "'soon' is no number"),
    "no folder": ("sjupyter --dir nowhere", 2, "nowhere is no folder"),
    "an array": ("sjupyter --array=1-3", 2, "--array cannot be given: a server is one job"),
    "Slurm's option with --local": ("sjupyter --local --mem=4G", 2, "--mem=4G is for Slurm, which --local does not ask"),
    "more than a node has": ("sjupyter --mem=9000G", 1, "Slurm says: sbatch: error:"),
    "no such module": ("sjupyter --env nothing/1.0", 1, "The module nothing/1.0 cannot be loaded"),
    "an environment without jupyter": (f"sjupyter --env {FACTS['modules']['demo']}", 1, "There is no jupyter in this environment"),
    "no ipyparallel": ("mkdir -p none; echo 'raise ImportError' > none/ipyparallel.py; PYTHONPATH=$HOME/none sjupyter --cluster 2", 1, "There is no ipyparallel in this environment"),
    "waiting too long": ("sjupyter --begin=now+1hour --wait 2", 3, "was still in the queue (BeginTime) after 2 seconds, and is cancelled"),
    "a Jupyter that does not start": ("sjupyter -- --ServerApp.root_dir=/nowhere", 1, "before it answered; sjupyter --logs shows what it printed"),
    "nothing to attach to": ("sjupyter --attach", 1, "You have no server: sjupyter starts one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_one_sentence_and_leaves_no_job(triton, user, clean, name):
    command, status, message = WRONG[name]
    done = triton.run("login", command, user, check=False)
    assert (done.returncode, message in done.stderr) == (status, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert triton.run("login", "squeue --me --noheader --states=pending,running", user).stdout == ""


def test_settings_that_open_the_server_to_all_are_told(triton):
    user = triton.account()
    triton.run("login", "mkdir .jupyter", user)
    triton.write("login", "~/.jupyter/jupyter_server_config.py", "c.IdentityProvider.token = ''\n", user)
    done = triton.run("login", "sjupyter -t 5", user, check=False)
    assert done.returncode == 1 and "switch the token off" in done.stderr, done.stderr
    assert triton.run("login", "squeue --me --noheader --states=pending,running", user).stdout == ""


def test_a_time_shorter_than_the_warning_ends_no_server_before_it_starts(triton):
    user = triton.account()
    jobs = [json.loads(triton.run("login", "sjupyter --json --detach -t 10 --mem=300M", user).stdout)["job"] for _ in range(3)]
    time.sleep(8)
    states = triton.run("login", "squeue --me --noheader --format='%i %T'", user).stdout.split("\n")
    triton.run("login", "scancel --me", user)
    assert {f"{job} RUNNING" for job in jobs} <= set(states)


def test_what_a_users_bashrc_does_is_no_matter(triton):
    user = triton.account()
    home = f"/home/{user}"
    triton.run("login", f"echo '[ -z \"$SLURM_JOB_ID\" ] || {{ echo hello; exec sleep 100; }}' > {home}/.bashrc; chown {user}: {home}/.bashrc")
    with Started(triton, user, "-t 5") as started:
        assert answers(triton, started.url) in ("200", "302")
        triton.run("login", f"scancel --user={user}")


def test_a_full_home_is_told_before_a_job_is_made(triton):
    full = cluster.FULL_USER
    triton.run("login", "head -c 3M /dev/zero > fill || true; for i in $(seq 100); do echo x > fill-$i; done", full, check=False)
    try:
        done = triton.run("login", "sjupyter", full, check=False)
        assert done.returncode == 1 and "No space left on device" in done.stderr and len(done.stderr.splitlines()) == 1
        assert triton.run("login", "squeue --me --noheader", full).stdout == ""
    finally:
        triton.run("login", "rm -f fill fill-*", full)


def test_where_there_is_no_slurm_it_says_so(triton, user):
    for name in ("bin/sjupyter", "facts.toml"):
        triton.run("laptop", f"mkdir -p copy/bin; cat > copy/{name}", user, input=(ROOT / "triton" / name).read_text(encoding="utf-8"))
    done = triton.run("laptop", "python3 copy/bin/sjupyter", user, check=False)
    assert (done.returncode, done.stderr) == (1, "sjupyter: There is no Slurm here (sbatch is not found): run sjupyter on the login node, or with --local\n")
    assert triton.run("laptop", "ls .local/share/sjupyter", user).stdout == ""


def test_a_controller_that_restarts_is_waited_for(tmp_path):
    if why := cluster.obstacle():
        pytest.skip(why)
    state = tmp_path / "cluster"
    cluster.up(nodes=1, state=state, tied=True, say=print)
    try:
        own = Triton(state)
        own.run("ctl", "kill $(cat /run/slurmctld.pid); for i in $(seq 100); do [ -e /run/slurmctld.pid ] || break; sleep 0.1; done; (sleep 6; slurmctld) > /dev/null 2>&1 &")
        with Started(own, "alice", "-t 5") as started:
            assert answers(own, started.url) in ("200", "302")
    finally:
        cluster.down(state)


# ---------------------------------------------------------------- many, and interrupted

def test_twenty_servers_of_two_users_do_not_collide(triton):
    users = [triton.account(), triton.account()]
    names = [(users[number % 2], number) for number in range(20)]
    for name in users:
        triton.run("login", "for i in $(seq 10); do sjupyter --json --detach -t 10 --mem=300M; done", name)
    rows = {}
    for _ in range(150):
        rows = {name: [json.loads(line) for line in triton.run("login", "sjupyter --list --json", name).stdout.splitlines()] for name in users}
        if all(len([row for row in rows[name] if row["state"] == "ready"]) == 10 for name in users):
            break
        time.sleep(2)
    try:
        addresses = [row["address"] for name in users for row in rows[name]]
        assert len(names) == len(set(addresses)) == 20 and all(addresses), rows
        for name in users:
            tokens = triton.run("login", "for folder in .local/share/sjupyter/*/; do cat $folder/said.json; echo; cat $folder/token; echo; done", name).stdout.splitlines()
            for said, token in zip(tokens[::2], tokens[1::2], strict=True):
                said = json.loads(said)
                assert answers(triton, f"http://{said['host']}:{said['port']}/api/contents?content=0&token={token}") == "200"
    finally:
        for name in users:
            triton.run("login", "scancel --me", name)


@pytest.mark.parametrize("signal", ["INT", "KILL"])
def test_interrupted_at_any_moment_of_the_start_no_job_is_left_that_list_does_not_show(triton, signal):
    user = triton.account()
    for delay in (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2):
        triton.run("login", f"timeout --signal={signal} --kill-after=1 {delay} sjupyter -t 5", user, check=False)
    time.sleep(3)
    jobs = set(triton.run("login", "squeue --me --noheader --format=%i --states=pending,running", user).stdout.split())
    shown = {json.loads(line)["job"] for line in triton.run("login", "sjupyter --list --json", user).stdout.splitlines()}
    triton.run("login", "scancel --me", user)
    assert jobs == shown


# ---------------------------------------------------------------- on the login node

def test_local_is_reached_by_the_printed_line_and_ends_with_ctrl_c(triton):
    user = triton.account()
    for option in ("", "--socket"):
        terminal = Terminal(triton, "login", user, PROMPTS)
        terminal.screen.sendline(f"sjupyter --local {option}")
        terminal.screen.expect(r"(ssh -L \S+ \S+)\r?\n.*and open:\s+(http\S+)", timeout=60)
        line, url = terminal.screen.match[1], terminal.screen.match[2]
        laptop = Terminal(triton, "laptop", user, PROMPTS)
        laptop.type(line)
        try:
            page = triton.run("laptop", f"curl --silent --location --cookie-jar /dev/null {shlex.quote(url)} | grep -io '<title>[^<]*'", user).stdout
            assert "<title>JupyterLab" in page, option
            terminal.screen.send("\x03")
            terminal._wait(20)
        finally:
            terminal.close()
            laptop.close()
        assert "jupyter" not in triton.run("login", "ps -o args", user).stdout
    assert triton.run("login", "ls .local/share/sjupyter", user).stdout == ""


def test_local_protects_the_others_from_a_server_that_takes_much_memory(triton):
    user = triton.account()
    process = triton.start("login", "exec sjupyter --local --json", user, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        said = json.loads(process.stdout.readline())
        port = re.search(r":(\d+) ", said["forward"])[1]
        started = type("Local", (), {"url": said["forward_url"].replace(f":{FACTS['proxy']['example']}/", f":{port}/")})
        execute(triton, user, started, "x = b'x' * 2_500_000_000; import time; time.sleep(60)")
        _, err = process.communicate(timeout=30)
        assert process.returncode == 1 and "GB of memory, and was ended" in err
        assert "ipykernel" not in triton.run("login", f"ps -u {user} -o args", user).stdout
    finally:
        process.kill()
        process.communicate()


def test_dry_run_prints_the_script_and_submits_nothing(triton, user, clean):
    script = triton.run("login", "sjupyter --dry-run --mem=4G", user).stdout
    assert script.startswith("#!/bin/bash\n") and f"module load {FACTS['modules']['jupyter']}" in script
    assert triton.run("login", "squeue --me --noheader", user).stdout == ""


def test_twenty_queries_of_a_waiting_sjupyter_take_longer_than_twenty_seconds(triton, user, clean):
    """It asks Slurm at most once a second, and less often the longer it waits."""
    triton.run("login", "mkdir bin", user)
    triton.write("login", "~/bin/squeue", "#!/bin/sh\ndate +%s.%N >> ~/asked\nexec /usr/bin/squeue \"$@\"\n", user, mode="755")
    triton.run("login", "PATH=$HOME/bin:$PATH timeout --signal=KILL 12 sjupyter --begin=now+1hour", user, check=False)
    asked = [float(line) for line in triton.run("login", "cat asked", user).stdout.split()]
    gaps = [after - before for before, after in zip(asked, asked[1:], strict=False)]
    assert 4 <= len(asked) <= 12 and min(gaps) > 0.9 and gaps[-1] > gaps[0], gaps


def test_many_starts_at_once_by_one_user(triton):
    user = triton.account()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda _: Started(triton, user, "-t 5 --mem=300M"), range(4)))
    try:
        assert len({one.url for one in started}) == 4
    finally:
        triton.run("login", "scancel --me", user)
        for one in started:
            one.__exit__()
