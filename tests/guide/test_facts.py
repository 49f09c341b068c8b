"""A fact of the cluster stands only in triton/facts.toml, and a page with an unknown fact does not
build.
"""

import dataclasses
import re
import subprocess
import sys

import pytest

from _ext import facts
from tools import pages
from tools.files import ROOT, copy_source
from tools.site import build_site
from triton.lib import clusterfacts

FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
SOURCES = [ROOT / name for name in pages.sources() + pages.shown_files()]


def values():
    """The (name, value) pairs of the facts that a page can show."""
    for table, facts_of_it in pages.facts().items():
        if isinstance(facts_of_it, dict):
            for key, value in facts_of_it.items():
                yield f"{table}.{key}", str(value)


def raw(path):
    """The (line number, line) pairs of a source, without its placeholders and comments."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        yield number, facts.PLACEHOLDER.sub("", line)


# These patterns match what looks like a fact, whatever its value: a host of the university, a port,
# a path that only the cluster has.
LOOKS_LIKE_A_FACT = {
    "host name": re.compile(
        rf"\b[\w.-]+\.{re.escape('.'.join(FACTS.hosts.login.split('.')[-2:]))}\b"
    ),
    "port": re.compile(
        r"(?<=localhost:)\d+|(?<=127\.0\.0\.1:)\d+|(?<=-D )\d+|(?<=-L )\d+|(?i:(?<=port "
        r")\d+)|(?i:(?<=port ``)\d+)"
    ),
    "absolute path": re.compile(
        r"(?<![\w.~/})>-])/(?:home|scratch|share|m|l|work|opt|apps|project|archive)\b[\w./-]*"
    ),
}


@pytest.mark.claims(
    "A fact of the cluster stands once, in ``triton/facts.toml``: hosts, ports, paths, "
    "modules, partitions. A test finds those "
    "that you typed."
)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_fact_stands_in_a_page_without_coming_from_the_facts(path):
    own = {
        name: value
        for name, value in values()
        if re.search(r"[./]|^\d{4,}$", value) and len(value) > 3 and name.split(".")[0] != "site"
    }
    problems = []
    for number, line in raw(path):
        problems += [
            f"{path.name}:{number}: {match[0]!r} looks like a {kind}: write it as {{{{ a fact }}}}"
            for kind, pattern in LOOKS_LIKE_A_FACT.items()
            for match in pattern.finditer(line)
        ]
        problems += [
            f"{path.name}:{number}: {value!r} is the fact {name}: write {{{{ {name} }}}}"
            for name, value in own.items()
            if re.search(rf"(?<![\w.]){re.escape(value)}(?![\w])", line)
        ]
    assert not problems, "\n".join(problems)


@pytest.mark.claims(
    "{{ cluster.name }} is for {{ access.people }}.",
    "`Ask for access <{{ access.form }}>`__ to {{ cluster.name }}, once.",
    "Computing on {{ cluster.name }} {{ access.price }}. But it counts:",
    "It is also `reported once <{{ access.report }}>`__.",
    "* `The issue tracker <{{ site.issues }}>`__: say what you typed, what came, and the number of "
    "the job.",
    "* `People who sit down with you <{{ access.help }}>`__, when a message is not enough.",
    "Data about people, and what a contract keeps secret, may be only where {{ "
    "cluster.university }} allows it.",
    "Have an account at {{ cluster.university }}. Its user name and password are also "
    "those of {{ cluster.name }}.",
    "a service that {{ cluster.university }} allows, in a browser tab of its own: it gets"
    " what you paste",
    "The rules for research at {{ cluster.university }} are `on a page of their own <{{ "
    "site.ai }}>`__.",
    "The rules for research data are `on a page of their own <{{ site.confidential }}>`__.",
)
def test_a_fact_about_access_stands_in_its_own_sentence():
    page, access = pages.filled("triton/tut/first-day.rst"), FACTS.access
    links = re.findall(r"`([^`<]+) <(https?://[^>]+)>`__", page)
    assert links == [
        ("Ask for access", access.form),
        ("reported once", access.report),
        ("The issue tracker", FACTS.site.issues),
        ("People who sit down with you", access.help),
    ]
    name, school = FACTS.cluster.name, FACTS.cluster.university
    own = "are `on a page of their own <{}>`__."
    for source, sentence in (
        (
            "triton/tut/first-day.rst",
            f"at {school}. Its user name and password are also those of {name}.",
        ),
        ("triton/tut/data.rst", f"may be only where {school} allows it."),
        (
            "triton/tut/data.rst",
            f"The rules for research data {own.format(FACTS.site.confidential)}",
        ),
        ("triton/apps/jupyter/assistants.rst", f"a service that {school} allows, in a browser tab"),
        ("triton/apps/jupyter/assistants.rst", f"research at {school} {own.format(FACTS.site.ai)}"),
    ):
        assert sentence in " ".join(pages.filled(source).split())
    assert f"\n{name} is for {access.people}.\n" in page
    assert f"\nComputing on {name} {access.price}." in page


def test_every_fact_is_used():
    shown = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    code = "".join(
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("conf.py", "triton/jupyterhub/jupyterhub_config.py")
    )
    unused = [
        name
        for name, _ in values()
        if f"{{{{ {name} }}}}" not in shown and not re.search(rf"\b{re.escape(name)}\b", code)
    ]
    assert not unused, "\n".join(
        f"triton/facts.toml:{clusterfacts.line_of(FILE.read_text(), name)}: neither a "
        f"page nor the hub uses {name}"
        for name in unused
    )


@pytest.mark.parametrize("page", pages.sources())
def test_every_address_in_the_prose_is_the_hubs(page):
    """No other host of the cluster has web pages. Links to the internet have a text."""
    prose = re.sub(r"``[^`\n]*``", "", pages.read(page))  # a message may name another address
    opened = [
        (number, address)
        for number, line in enumerate(prose.split("\n"), 1)
        for address in re.findall(r"(?<![<`\w])https://[^\s,`>]*[^\s,`>.]", line)
    ]
    ours = f"https://{FACTS.hosts.hub}"
    assert [
        f"{page}:{number}: {address}"
        for number, address in opened
        if address not in (ours, "https://ondemand.example.org")
        and not address.startswith(FACTS.site.url)
    ] == []


@pytest.mark.parametrize("page", pages.sources())
def test_a_link_leads_to_an_address(page):
    text = pages.read(page)
    wrong = [
        f"{page}:{text.count(chr(10), 0, link.start(1)) + 1}: <{link[1]}> is no address "
        "of the internet: write :doc: or :ref: for a page of ours"
        for link in re.finditer(r"(?<!:)`[^`<]+\s<([^`>]+)>`_", text)
        if not re.match(r"https?://|mailto:|[./\w]+\.zip$", link[1])
    ]
    assert not wrong, "\n".join(wrong)


FILE = ROOT / "triton/facts.toml"
# {a wrong line for a fact: the error message}. No program could use the value. A fact that is not
# in the file is added below the head of its table.
WRONG = {
    "logs.keep_days": ('keep_days = "three moons"', "write a number of days, as 7"),
    "logs.pattern": ('pattern = "/var/log/*.log"', "write ~/ and a file name with one *"),
    "profiles.kill_gb": ("kill_gb = 0.01", "less than memory_gb, "),
    "profiles.idle_minutes": (
        '[[profiles]]\nidle_minutes = "sometimes"',
        "write a number of minutes, as 60",
    ),
    "profiles.idle": (
        '[[profiles]]\nidle = "never stopped"',
        "is no fact that anything reads: is idle_minutes meant?",
    ),
    "profiles.time": ('time = "5 days"', "write a time as Slurm writes it"),
    "profiles.memory_gb": ('memory_gb = "2 Gb"', "write a number of gigabytes, as 2 or 2.5"),
    "profiles.name": (f'name = "{FACTS.profiles[1].name}"', "as that of another profile"),
    "course.profile": ('profile = "A day"', "no profile is called so"),
    "course.solutions": ('solutions = "some"', '"all", "none", or a list of notebooks'),
    "site.repository": ('repository = "github.com/x"', "write the address of a repository"),
    "hosts.login": ('login = "user@triton"', "write the name of a host"),
    "hosts.short": ('short = "tri"', "it is the first part of hosts.login"),
    "hosts.node": ('node = "c"', "write the name of a node"),
    "proxy.port": ('port = "8123"', "write a port, a number from 1024 to 65535"),
    "proxy.pattern": ('pattern = "*.example.org"', "fits no node"),
    "paths.work": ('work = "/work dir"', "write a path that begins with / and has no spaces"),
    "paths.jupyter_env": ('jupyter_env = "/elsewhere"', "it lies in paths.apps"),
    "partitions.batch": ("batch = 1", "write it in quotation marks"),
    "modules.python": ('python = "anaconda3 latest"', "write a name without spaces"),
    "hosts.logn": ('[hosts]\nlogn = "x"', "is no fact that anything reads: is login meant?"),
    "quota.home_gb": ("", "is missing"),
}


@pytest.mark.claims(
    "Each value is checked, and a message names the line of a wrong one.",
    "``short`` is the first part of ``login``, as the prompt shows it.",
    "``work`` lies in ``scratch``, and ``jupyter_env`` in ``apps``.",
)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_fact_is_told_with_its_line(tmp_path, name):
    """One sentence says where the error is, which fact is wrong, and what to write."""
    new, says = WRONG[name]
    text = FILE.read_text(encoding="utf-8")
    lines = text.splitlines()
    lines[clusterfacts.line_of(text, name) - 1] = new
    path = tmp_path / "facts.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(clusterfacts.FactsError) as error:
        clusterfacts.load(path)
    message = str(error.value)
    line = int(re.match(rf"{re.escape(str(path))}:(\d+): {name} ", message)[1])
    assert says in message and "\n" not in message
    named = path.read_text().splitlines()[line - 1]
    assert named == "[quota]" or (new and new.splitlines()[-1] in named)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[hosts", ":1: "),
        (b"\xff\xfe[\x00", "is not written in UTF-8"),
        (b"", "cluster is missing"),
    ],
)
def test_a_file_without_facts_is_an_error(tmp_path, data, says):
    (tmp_path / "facts.toml").write_bytes(data)
    with pytest.raises(clusterfacts.FactsError, match=re.escape(says)):
        clusterfacts.load(tmp_path / "facts.toml")


@pytest.mark.claims(
    "Pages and the hub say them in words. Without ``kill_gb`` a server may take all that its node "
    "has; without ``idle_minutes`` it is never stopped.",
    "``home_gb = 10`` is *10 GB* on a page, which calls it ``quota.home``.",
)
@pytest.mark.parametrize(
    ("profile", "numbers", "words"),
    [
        (
            clusterfacts.Profile("A", "5-00:00:00", memory_gb=2, kill_gb=2.5, idle_minutes=60),
            (432000, 2684354560, "2560M", 3600),
            ["A", "5 days", "1", "2 GB", "2.5 GB", "stopped after 60 minutes"],
        ),
        (
            clusterfacts.Profile(
                "B", "36:00:00", memory_gb=0.5, kill_gb=8, idle_minutes=1, cores=3
            ),
            (129600, 8 * 2**30, "8192M", 60),
            ["B", "36 hours", "3", "512 MB", "8 GB", "stopped after 1 minute"],
        ),
        (
            clusterfacts.Profile("C", "10:00", memory_gb=80),
            (600, 0, "0", 0),
            ["C", "10 minutes", "1", "80 GB", "the whole node", "never stopped"],
        ),
    ],
)
def test_a_profile_has_numbers_and_words(profile, numbers, words):
    """Slurm and the hub use numbers, and people read words."""
    has = (profile.seconds, profile.kill_bytes, profile.slurm_memory, profile.idle_seconds)
    assert has == numbers
    assert list(profile.in_words().values()) == words


@pytest.mark.parametrize(
    ("days", "words"), [(1, "1 day"), (7, "one week"), (10, "10 days"), (14, "two weeks")]
)
def test_a_page_shows_a_number_of_days_in_words(days, words):
    logs = dataclasses.replace(FACTS.logs, keep_days=days)
    assert dataclasses.replace(FACTS, logs=logs).in_words()["logs"]["keep"] == words


def test_everything_that_reads_facts_tells_a_wrong_one(triton, tmp_path):
    """The build of the site, the small Triton, sjupyter, class-check and the hub print the same
    sentence, without a traceback.
    """
    says = "logs.keep_days is 'three moons': write a number of days"
    text = FILE.read_text(encoding="utf-8")
    broken = re.sub(r"keep_days = \d+", 'keep_days = "three moons"', text)
    guide = copy_source(tmp_path / "guide")
    (guide / "triton/facts.toml").write_text(broken, encoding="utf-8")
    make = subprocess.run(
        ["make", "--silent", "--old-file=.venv", "html"], cwd=guide, capture_output=True, text=True
    )
    cluster = subprocess.run(
        [sys.executable, guide / "tools/cluster/cluster.py", "up"], capture_output=True, text=True
    )
    apps, user = FACTS.paths.apps, triton.account()
    triton.run("login", f"cp -r {apps}/triton broken; cat > broken/facts.toml", user, input=broken)
    triton.run(
        "hub", "cp -r /etc/jupyterhub /tmp/broken; cat > /tmp/broken/facts.toml", input=broken
    )
    runs = [
        make,
        cluster,
        *(
            triton.run("login", f"~/broken/bin/{command}", user, check=False)
            for command in ("sjupyter --dry-run", "class-check")
        ),
        triton.run(
            "hub",
            "cd /tmp; PATH=/opt/jupyterhub/bin:$PATH jupyterhub "
            "--config=/tmp/broken/jupyterhub_config.py --show-config",
            check=False,
        ),
    ]
    for completed in runs:
        assert (
            completed.returncode in (1, 2)
            and says in completed.stderr
            and "Traceback" not in completed.stderr
        ), completed


def test_the_profiles_trade_run_time_for_memory_as_the_pages_say():
    times = [profile.seconds for profile in FACTS.profiles]
    memory = [profile.memory_gb for profile in FACTS.profiles]
    assert times == sorted(times, reverse=True) and memory == sorted(memory), (
        "triton/facts.toml: the longer a profile runs, the less memory it has"
    )
    for page, says in (
        (
            "triton/apps/jupyter.rst",
            "a long run time with little memory, or more memory for a short time",
        ),
        (
            "triton/apps/jupyter/hub.rst",
            "A profile that runs for long has little memory",
        ),
    ):
        assert says in " ".join((ROOT / page).read_text(encoding="utf-8").split()), (
            f"{page} no longer says: {says}"
        )


def small_guide(folder, text):
    known = {"hosts": {"login": "login.example.org"}, "rows": [{"name": "A"}]}
    (folder / "facts.toml").touch()
    (folder / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nextensions = ['_ext.facts']\n"
        f"facts = {known!r}\n"
    )
    (folder / "page.pac").write_text("// {{ hosts.login }}\n")
    (folder / "more.txt").write_text("Included {{ hosts.login }}.\n")
    (folder / "index.rst").write_text(text)
    return build_site(folder, folder / "_build")


@pytest.fixture
def guide(tmp_path):
    return lambda text: (small_guide(tmp_path, text), tmp_path / "_build/html")


def test_a_fact_is_filled_in_everywhere(guide):
    built, html = guide(
        "Title {{ hosts.login }}\n=======================\n\nProse {{hosts.login}}, "
        "``lit {{ hosts.login }}``.\n\n"
        ".. code-block:: console\n\n   x@y:~$ ssh {{ hosts.login }}\n\n.. include:: "
        "more.txt\n\n.. rendered-file:: page.pac\n\n"
        ".. facts-table:: rows\n   :columns: name = Heading\n"
    )
    assert built.returncode == 0, built.stderr
    page = (html / "index.html").read_text()
    text = re.sub("<[^>]+>", "", page)
    for expected in (
        "Title login.example.org",
        "Prose login.example.org",
        "lit login.example.org",
        "ssh login.example.org",
        "Included login.example.org",
        "// login.example.org",
        "Heading",
    ):
        assert expected in text
    assert "{{" not in text
    assert (html / "page.pac").read_text() == "// login.example.org\n"
    assert 'href="page.pac"' in page


@pytest.mark.parametrize(
    "line",
    [
        "{{ hosts.logn }}",
        "``{{ host.login }}``",
        "{{ hosts }}",
        "{{ rows }}",
        "{{ hosts.login.x }}",
        "{{ }}",
    ],
)
def test_a_fact_that_does_not_exist_stops_the_build(guide, line):
    """The message names the file and the line."""
    built, _ = guide(f"Title\n=====\n\nFirst.\n{line}\n")
    assert built.returncode == 1
    assert "index.rst:5:" in built.stderr and "there is no fact" in built.stderr
    assert "Traceback" not in built.stderr


@pytest.mark.parametrize(
    "directive, says",
    [
        (".. facts-table:: columns\n   :columns: name = Heading", "there is no list 'columns'"),
        (".. facts-table:: rows\n   :columns: nam = Heading", "'nam'"),
        (".. rendered-file:: missing.pac", "cannot read missing.pac"),
    ],
)
def test_a_directive_for_what_is_not_there_stops_the_build(guide, directive, says):
    """The message names the file and the line."""
    built, _ = guide(f"Title\n=====\n\n{directive}\n")
    assert built.returncode == 1
    assert "index.rst:4:" in built.stderr and says in built.stderr
