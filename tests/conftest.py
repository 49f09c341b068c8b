"""What all tests share: the checkout, one clean build of the site, and the line with which a run ends."""
import fcntl
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from course import git, pairs
from triton import bring_up, cluster

pytest_plugins = ["proof_recorder"]
ROOT = Path(__file__).resolve().parents[1]
for _name in git.CHOOSE_A_REPOSITORY:    # a hook of git may run the tests, which have repositories of their own
    os.environ.pop(_name, None)
LONGEST = ["test_hub.py", "test_hub_ends.py", "test_hub_faults.py", "test_hub_jobs.py", "test_sjupyter.py", "test_pairs.py", "test_class_check.py", "test_faq.py", "test_claims.py", "test_nbdime_git.py", "test_mutate.py", "test_console_blocks.py"]
LAST = ["test_page_quality.py", "test_class.py"]
ALLOWED_SKIPS = tomllib.loads((ROOT / "tests/allowed-skips.toml").read_text(encoding="utf-8"))


def pytest_collection_modifyitems(items, config):
    """Among several workers, what takes long begins first, so that none is left alone with it at the end; what goes well together comes last."""
    if hasattr(config, "workerinput"):
        order = {name: number for number, name in enumerate([*LONGEST, ..., *LAST])}
        items.sort(key=lambda item: order.get(item.path.name, order[...]))


def build_site(source, target, *options):
    """Build the site from `source` into `target`/html as `make html` does; return the finished process."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", *options,
               "-b", "html", "-d", target / "doctrees", source, target / "html"]
    return subprocess.run(command, capture_output=True, text=True, cwd=source)


def write_pair(notebook, path):
    """Write a notebook, whose .ipynb is `path`, as `make refresh` leaves it: both halves, and the fingerprint of the code that its outputs are of."""
    if "measured" in notebook.metadata:
        notebook.metadata.measured["code"] = pairs.code(notebook)
    pairs.write_ipynb(notebook, path)
    pairs.write_md(notebook, path.with_suffix(".md"))


def html_pages(site):
    """The pages of the built site that are the guide's own: not those of JupyterLite."""
    return [path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "lite"]


def copy_source(target):
    """Copy what git tracks, and new files it does not ignore, to `target`, with the history; return `target`."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    subprocess.run(["git", "clone", "-q", "--bare", ROOT, target / ".git"], check=True)
    subprocess.run(["git", "-C", target, "config", "core.bare", "false"], check=True)
    subprocess.run(["git", "-C", target, "reset", "-q"], check=True)
    return target


@pytest.fixture(scope="session")
def site(tmp_path_factory, request):
    """The folder with the HTML of a clean build, made by the first worker that wants it."""
    shared = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        shared = shared.parent
    target, good = shared / "site", shared / "site/good"
    with open(shared / "site.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not good.exists():
            built = build_site(ROOT, target)
            if built.returncode:
                pytest.fail(f"the site does not build:\n{built.stdout}{built.stderr}", pytrace=False)
            good.touch()
    return target / "html"


@pytest.fixture(scope="session")
def triton(tmp_path_factory, request):
    """A running small Triton (triton.Triton); tests that use it are skipped where it cannot run."""
    if why := cluster.obstacle():
        pytest.skip(why)
    running, end = bring_up(tmp_path_factory.mktemp("cluster") / "state")
    request.config.pluginmanager.get_plugin("proof-recorder").note_versions(running)
    yield running
    end()


# The end of a run: one plain line, and with CI=true no skip that nobody has allowed.

def _skips(reporter):
    for report in reporter.stats.get("skipped", []):
        yield report.nodeid, report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not reporter:    # a worker: who started it tells the end
        return
    forbidden = [(name, why) for name, why in _skips(reporter) if name not in ALLOWED_SKIPS]
    if os.environ.get("CI") == "true" and forbidden:
        session.config.stash[_forbidden] = forbidden
        session.exitstatus = session.exitstatus or 1


_forbidden = pytest.StashKey()


def pytest_unconfigure(config):
    terminalreporter = config.pluginmanager.get_plugin("terminalreporter")
    if not terminalreporter or not terminalreporter.stats:
        return
    stats = terminalreporter.stats
    for name, why in terminalreporter.config.stash.get(_forbidden, []):
        terminalreporter.write_line(f"NOT ALLOWED where CI=true: {name} was skipped: {why}", red=True)
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    skipped = sorted({why for _, why in _skips(terminalreporter)})
    line = f"{len(stats.get('passed', []))} passed, {failed} failed, {len(stats.get('skipped', []))} skipped"
    terminalreporter.write_line("")
    terminalreporter.write_line(line + (f" ({'; '.join(skipped)})" if skipped else ""))
    unchanged = [value for report in stats.get("passed", []) for key, value in report.user_properties if key == "unchanged"]
    if unchanged:
        terminalreporter.write_line(f"not run, since nothing changed that they can see: {', '.join(unchanged)}")
