"""A fact of the cluster stands in triton/facts.toml and nowhere else, and a page that asks for another does not build."""
import re

import facts
import pytest
from conftest import ROOT, build_site
from guide import pages

FACTS = facts.load(ROOT / "triton/facts.toml")
SOURCES = [ROOT / name for name in pages.sources() + pages.shown_files()]


def values(table=FACTS, prefix=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from values(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", str(value)


def raw(path):
    """The text of a source without its placeholders and comments, as (line number, line)."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        yield number, facts.PLACEHOLDER.sub("", line)


# What looks like a fact of the cluster whatever its value: a host of the university, a port, a path that only the cluster has.
LOOKS_LIKE_A_FACT = {
    "host name": re.compile(rf"\b[\w.-]+\.{re.escape('.'.join(FACTS['hosts']['login'].split('.')[-2:]))}\b"),
    "port": re.compile(r"(?<=localhost:)\d+|(?<=127\.0\.0\.1:)\d+|(?<=-D )\d+|(?<=-L )\d+|(?i:(?<=port )\d+)|(?i:(?<=port ``)\d+)"),
    "absolute path": re.compile(r"(?<![\w.~/})>-])/(?:home|scratch|share|m|l|work|opt|apps|project|archive)\b[\w./-]*"),
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_fact_stands_in_a_page_without_coming_from_the_facts(path):
    own = {name: value for name, value in values() if re.search(r"[./]|^\d{4,}$", value) and len(value) > 3 and name.split(".")[0] != "site"}
    found = []
    for number, line in raw(path):
        found += [f"{path.name}:{number}: {match[0]!r} looks like a {kind}: write it as {{{{ a fact }}}}"
                  for kind, pattern in LOOKS_LIKE_A_FACT.items() for match in pattern.finditer(line)]
        found += [f"{path.name}:{number}: {value!r} is the fact {name}: write {{{{ {name} }}}}"
                  for name, value in own.items() if re.search(rf"(?<![\w.]){re.escape(value)}(?![\w])", line)]
    assert not found, "\n".join(found)


def test_every_fact_is_used():
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCES) + (ROOT / "conf.py").read_text()
    text += (ROOT / "triton/jupyterhub/jupyterhub_config.py").read_text().replace("'", '"').replace('hosts["', '["hosts"]["')
    unused = [name for name, _ in values() if f"{{{{ {name} }}}}" not in text and "[\"{}\"][\"{}\"]".format(*name.split(".")) not in text]
    assert not unused, "\n".join(f"triton/facts.toml:{line_of(name)}: neither a page nor the hub uses {name}" for name in unused)


def line_of(name, index=0):
    """The line of triton/facts.toml that gives the fact `name` a value; index: in which of the tables that are called so."""
    table, _, key = name.rpartition(".")
    here, found = None, []
    for number, line in enumerate((ROOT / "triton/facts.toml").read_text(encoding="utf-8").splitlines(), 1):
        here = line.strip("[] ") if line.startswith("[") else here
        if here == table and re.match(rf"{re.escape(key)} *=", line):
            found.append(number)
    if index < len(found):
        return found[index]
    raise KeyError(name)


@pytest.mark.parametrize("page", pages.sources())
def test_the_address_that_the_prose_opens_is_the_hubs(page):
    """No other host of the cluster has pages; links to the internet have a text."""
    opened = [(number, address) for number, line in enumerate(pages.read(page).split("\n"), 1) for address in re.findall(r"(?<![<`\w])https://[^\s,`>]*[^\s,`>.]", line)]
    ours = f"https://{FACTS['hosts']['hub']}"
    assert [f"{page}:{number}: {address}" for number, address in opened if address != ours and not address.startswith(FACTS['site']['url'])] == []


@pytest.mark.parametrize("page", pages.sources())
def test_a_link_leads_to_an_address(page):
    text = pages.read(page)
    wrong = [f"{page}:{text.count(chr(10), 0, found.start(1)) + 1}: <{found[1]}> is no address of the internet: write :doc: or :ref: for a page of ours"
             for found in re.finditer(r"(?<!:)`[^`<]+\s<([^`>]+)>`_", text) if not re.match(r"https?://|mailto:|[./\w]+\.zip$", found[1])]
    assert not wrong, "\n".join(wrong)


def test_the_short_name_is_that_of_the_login_node():
    assert FACTS["hosts"]["short"] == FACTS["hosts"]["login"].split(".")[0], "triton/facts.toml: hosts.short is the first part of hosts.login"


def test_the_profiles_say_one_thing_in_words_and_to_slurm():
    names = [profile["name"] for profile in FACTS["profiles"]]
    twice = [f"triton/facts.toml:{line_of('profiles.name', index)}: another profile has this name: {name}" for index, name in enumerate(names) if names.count(name) > 1]
    assert not twice, "\n".join(twice)
    for profile in FACTS["profiles"]:
        days, hours = re.fullmatch(r"(?:(\d+)-)?0*(\d+):00:00", profile["slurm_time"]).groups()
        assert profile["time"] == (f"{days} days" if days else f"{hours} hours"), f"triton/facts.toml: {profile['name']}: {profile['time']} is not {profile['slurm_time']}"


def test_the_profiles_trade_run_time_for_memory_as_the_pages_say():
    hours = [int(days or 0) * 24 + int(hours) for days, hours in (re.match(r"(?:(\d+)-)?(\d+)", profile["slurm_time"]).groups() for profile in FACTS["profiles"])]
    memory = [int(profile["memory"].split()[0]) for profile in FACTS["profiles"]]
    assert hours == sorted(hours, reverse=True) and memory == sorted(memory), "triton/facts.toml: the longer a profile runs, the less memory it has"
    for page, says in (("triton/apps/jupyter.rst", "a long run time with little memory, or more memory for a short time"),
                       ("triton/apps/jupyter/hub.rst", "Long times come with little memory, much memory with short times")):
        assert says in " ".join((ROOT / page).read_text(encoding="utf-8").split()), f"{page} no longer says: {says}"



def small_guide(folder, text):
    (folder / "facts.toml").write_text('[hosts]\nlogin = "login.example.org"\n[[rows]]\nname = "A"\n')
    (folder / "conf.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT / '_ext')!r})\nextensions = ['facts']\n")
    (folder / "page.pac").write_text("// {{ hosts.login }}\n")
    (folder / "more.txt").write_text("Included {{ hosts.login }}.\n")
    (folder / "index.rst").write_text(text)
    return build_site(folder, folder / "_build")


@pytest.fixture
def guide(tmp_path):
    return lambda text: (small_guide(tmp_path, text), tmp_path / "_build/html")


def test_a_fact_is_filled_in_everywhere(guide):
    built, html = guide("Title {{ hosts.login }}\n=======================\n\nProse {{hosts.login}}, ``lit {{ hosts.login }}``.\n\n"
                        ".. code-block:: console\n\n   x@y:~$ ssh {{ hosts.login }}\n\n.. include:: more.txt\n\n.. rendered-file:: page.pac\n\n"
                        ".. facts-table:: rows\n   :columns: name = Heading\n")
    assert built.returncode == 0, built.stderr
    page = (html / "index.html").read_text()
    text = re.sub("<[^>]+>", "", page)
    for expected in ("Title login.example.org", "Prose login.example.org", "lit login.example.org", "ssh login.example.org", "Included login.example.org",
                     "// login.example.org", "Heading"):
        assert expected in text
    assert "{{" not in text
    assert (html / "page.pac").read_text() == "// login.example.org\n"
    assert 'href="page.pac"' in page


@pytest.mark.parametrize("line", ["{{ hosts.logn }}", "``{{ host.login }}``", "{{ hosts }}", "{{ rows }}", "{{ hosts.login.x }}", "{{ }}"])
def test_a_fact_that_does_not_exist_stops_the_build_with_file_and_line(guide, line):
    built, _ = guide(f"Title\n=====\n\nFirst.\n{line}\n")
    assert built.returncode == 1
    assert "index.rst:5:" in built.stderr and "there is no fact" in built.stderr
    assert "Traceback" not in built.stderr


@pytest.mark.parametrize("directive, says", [
    (".. facts-table:: columns\n   :columns: name = Heading", "there is no list 'columns'"),
    (".. facts-table:: rows\n   :columns: nam = Heading", "'nam'"),
    (".. rendered-file:: missing.pac", "cannot read missing.pac"),
])
def test_a_directive_that_asks_for_what_is_not_there_stops_the_build_with_file_and_line(guide, directive, says):
    built, _ = guide(f"Title\n=====\n\n{directive}\n")
    assert built.returncode == 1
    assert "index.rst:4:" in built.stderr and says in built.stderr
