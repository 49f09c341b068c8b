"""Another centre adopts the guide by editing triton/facts.toml. Its site then shows the first
cluster only in the guide's history.
"""

import json
import re
import subprocess
import tomllib
import zipfile

import pytest

from tools import adopt, adopted
from tools.files import ROOT, copy_source
from tools.site import build_site
from triton.lib import clusterfacts

FACTS = tomllib.loads((ROOT / "triton/facts.toml").read_text(encoding="utf-8"))

# A trace is the name of the first cluster, its university or its gateway, or a fact of it that is
# not an ordinary word.
NAMES = [
    FACTS["cluster"]["name"],
    FACTS["cluster"]["university"].split()[0],
    FACTS["hosts"]["gateway"].split(".")[0],
]
OTHER = [
    str(FACTS[table][key])
    for table, entries in adopted.INVENTED.items()
    for key in entries
    if re.search(r"[\d./]", str(FACTS[table][key]))
    and len(str(FACTS[table][key])) > 3
    and " " not in str(FACTS[table][key])
]
TRACE = re.compile(
    "|".join(
        [
            *NAMES,
            *(rf"(?<![\w.]){re.escape(value)}(?!\w)" for value in OTHER),
            rf"\b{FACTS['hosts']['node']}[.:]",
        ]
    ),
    re.IGNORECASE,
)
# The addresses of this guide are no traces: it keeps its folder triton/ and its anchors, so that
# another centre can merge changes. The page on the history may have traces.
ADDRESS = re.compile(
    r"(?<![\w.-])triton/(?:(?:apps|tut|facts|bin|jupyterhub)\b[\w./-]*)?|triton-on-your-desk|TRITON_DIR|\b(?:a|jupyter-on|connecting-to)-triton\b[\w-]*"
)
HISTORY = re.compile(r"(?:about/)?history\.html")
# Pictures show the cluster where they were taken, until `make pictures`.
PICTURES = {".png", ".svg", ".webp", ".avif", ".gif"}


def build(folder):
    """The HTML folder of the guide in `folder`, built as after a run in which all tests passed."""
    names = {
        path.name: [1, 0, 0] for path in sorted((folder / "tests").rglob("test_*.py"))
    }  # the report of a run names all test files
    report = {
        "date": "2026-01-01",
        "commit": "abc",
        "changed": False,
        "seconds": 60,
        "versions": {},
        "files": names,
        "pages": {},
        "tests": {},
        "measured": [],
        "not_covered": [],
    }
    (folder / "_build").mkdir()
    (folder / "_build/proof.json").write_text(json.dumps(report))
    built = build_site(folder, folder / "_build")
    assert built.returncode == 0, built.stderr
    return folder / "_build/html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(adopted.adopt(tmp_path_factory.mktemp("adopted") / "guide"))


def texts(site):
    """The (name, text) of each readable file of the site, including those in archives."""
    for path in sorted(site.rglob("*")):
        if (
            not path.is_file()
            or path.suffix in PICTURES
            or "pagefind" in path.parts
            or path.name == "objects.inv"
        ):
            continue
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from (
                    (f"{path.name}/{name}", archive.read(name).decode("utf-8", "replace"))
                    for name in archive.namelist()
                )
        else:
            yield (
                path.relative_to(site).as_posix(),
                path.read_text(encoding="utf-8", errors="replace"),
            )


@pytest.mark.claims(
    "A smaller test builds the site each time, and finds no name of the first cluster in "
    "it, but on the page :doc:`history`."
)
def test_no_trace_of_the_first_cluster_is_left(site):
    """Only the history may name it."""
    problems = []
    for name, text in texts(site):
        text = re.sub(r"[\w+/=\\]{200,}", "", text)  # a picture; its letters may spell any name
        lines = [] if HISTORY.match(name) else ADDRESS.sub("", text).splitlines()
        problems += [
            f"{name}: {line.strip()[:160]}"
            for line in lines
            if TRACE.search(line) and not HISTORY.search(line)
        ]
    assert problems == [], "\n".join(problems[:40])


@pytest.mark.claims(
    "``make adopted`` makes this the guide of a cluster that does not exist, with "
    "other hosts, ports, paths, modules and "
    "partitions."
)
def test_the_new_names_are_everywhere(site):
    pages = "".join(text for _, text in texts(site))
    assert {"hosts", "proxy", "paths", "modules", "partitions"} <= set(adopted.INVENTED)
    assert not [
        value
        for entries in adopted.INVENTED.values()
        for value in entries.values()
        if str(value).split("{")[0] not in pages
    ]
    assert (site / "triton/apps/jupyter/ssh_config").read_text().startswith("# ssh boreas:")


def test_a_name_that_the_facts_do_not_have_is_an_error():
    with pytest.raises(KeyError, match=r"hosts\.logn"):
        adopted.rename('[hosts]\nlogin = "a"  # ssh\n', {"hosts": {"logn": "b"}})
    assert (
        adopted.rename(
            '[hosts]\nlogin = "a"  # ssh\nport = 1\n', {"hosts": {"login": "b", "port": 2}}
        )
        == '[hosts]\nlogin = "b"  # ssh\nport = 2\n'
    )


LACKED = r"VPN|wireless|gateway|guests|reported once|sit down|MATLAB|Octave|Julia\b|--gres"


@pytest.mark.claims(
    "Leave out what you do not have: ``cluster.wifi``, ``cluster.guests``, ``cluster.vpn``, "
    "``site.status``, ``site.ai``, ``access.report``, ``access.help``, ``hosts.gateway``, "
    "``modules.matlab``, ``modules.octave``, ``modules.julia``, ``modules.cuda``; and "
    "``partitions.gpu`` with all of ``[[gpus]]``. The sentences about it go too.",
    "Give its host as ``hosts.ondemand``: the front page leads there, and the guide has a page for "
    "it.",
    "#. Open https://{{ hosts.ondemand }}, and log in with your account.",
    "- the partition - ``{{ partitions.interactive }}``, or what stands there already",
    "Choose *Interactive Apps*, *Jupyter*. A form opens.",
    "Press *Connect to Jupyter*.",
    "It was not run to prove this page, since the small cluster has no Open OnDemand.",
    "- little: a notebook with a table needs 2 GB.",
    "- the number of cores - 1, unless your program",
)
def test_what_a_centre_lacks_is_left_out_with_its_sentences(tmp_path):
    """It has no VPN, no network for guests, no gateway, no GPUs, no MATLAB, no Octave and no Julia,
    and Open OnDemand instead of JupyterHub. Its repository is in a subgroup of GitLab, and its
    login host has a hyphen.
    """
    guide = copy_source(tmp_path / "guide")
    path = guide / "triton/facts.toml"
    text = "".join(
        line
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
        if not re.match(
            '(wifi|guests|vpn|help|status|ai|gateway|gpu|cuda|matlab|octave|julia) = |report = "h',
            line,
        )
    )
    text = re.sub(r"^\[\[gpus\]\](.|\n[^\[])*", "", text, flags=re.MULTILINE)
    for old, new in (
        ('"triton.aalto.fi"', '"login-1.example.org"'),
        ('short = "triton"', 'short = "login-1"\nondemand = "ondemand.example.org"'),
        (
            "https://github.com/AaltoSciComp/triton-jupyter-guide",
            "https://gitlab.example.org/hpc/docs/guide",
        ),
    ):
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    site = build(guide)
    pages = {
        path.name: path.read_text(encoding="utf-8") for path in (site / "triton").rglob("*.html")
    }
    assert len(pages) > 10
    front = (site / "index.html").read_text(encoding="utf-8")
    assert "https://ondemand.example.org" in front and "smallest profile" not in front
    assert "https://ondemand.example.org" in pages["ondemand.html"]
    smallest = FACTS["profiles"][0]
    assert (smallest["memory_gb"], smallest["cores"]) == (2, 1), "as the page says for its form"
    assert not any("ondemand" in path.name for path in (ROOT / "tools/cluster").rglob("*"))
    labels = re.findall(
        "<em>(.*?)</em>", front.partition("log in, and choose")[2].partition("</ol>")[0]
    )
    assert len(labels) > 3 and all(
        f"<em>{label}</em>" in pages["ondemand.html"] for label in labels
    )
    assert f">{FACTS['partitions']['interactive']}<" in re.sub(
        "</?span[^>]*>", "", pages["ondemand.html"]
    )
    for name, page in pages.items():
        main = re.sub(
            "<[^>]+>", "", page.partition("<main")[2].partition("</main>")[0]
        )  # a redirect has no such part
        left = re.search(f"{LACKED}|outside:~|\\{{\\{{", main)
        assert not left, f"{name}: {left and left[0]}"
    assert "username@login-1:" in pages["sjupyter.html"]


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", folder, *identity, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def fork(tmp_path):
    """The guide of another centre, made from this one as it was ten commits ago; this one is the
    branch upstream/main there.
    """
    ours, folder = copy_source(tmp_path / "ours"), tmp_path / "a fork"
    git(ours, "checkout", "-q", "-B", "main")
    git(ours, "add", "--all")
    git(ours, "commit", "-qm", "What is not committed yet", "--allow-empty")
    history = git(ours, "rev-list", "--first-parent", "main").splitlines()
    git(tmp_path, "clone", "-q", "--origin", "upstream", ours, folder)
    git(folder, "checkout", "-q", "-B", "main", history[min(10, len(history) - 1)])
    facts = folder / "triton/facts.toml"
    facts.write_text(adopted.rename(facts.read_text(), adopted.INVENTED))
    (folder / "triton/tut/our-ai-nodes.rst").write_text("Our nodes\n=========\n\nAsk us.\n")
    for name in ("seed.toml", "questions.toml", "anchors.txt"):
        (folder / "tests/data" / name).write_text("")
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "Adopt")
    return folder


@pytest.mark.claims("What gets better here comes to you by a merge:")
def test_a_fork_takes_over_ten_commits_without_a_conflict(fork):
    assert adopt.changed(fork, "upstream/main") == []
    git(fork, "merge", "-q", "--no-edit", "-X", "ours", "upstream/main")
    merged = clusterfacts.load(fork / "triton/facts.toml")
    assert merged.cluster.name == adopted.INVENTED["cluster"]["name"]
    assert (fork / "triton/tut/our-ai-nodes.rst").exists()


def test_a_change_in_a_file_that_is_not_theirs_is_named(fork):
    with (fork / "triton/tut/storage.rst").open("a") as page:
        page.write("\nOurs.\n")
    (fork / "triton/tut/gpu.rst").unlink()
    git(fork, "commit", "-qam", "Change pages")
    assert adopt.changed(fork, "upstream/main") == ["triton/tut/gpu.rst", "triton/tut/storage.rst"]
