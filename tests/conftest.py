"""The fixtures and hooks that all tests share."""

import fcntl
import functools
import http.server
import os
import threading
import tomllib

import pytest

from tools import git
from tools.browser import FLAGS, HEADLESS, Quiet
from tools.cluster import cluster
from tools.cluster.small_triton import bring_up
from tools.files import ROOT
from tools.proof import faq
from tools.site import build_site

pytest_plugins = ["tools.proof.recorder", "tools.proof.selection"]
git.forget_the_hook()  # the tests use repositories of their own
LONGEST = [
    "test_hub.py",
    "test_hub_ends.py",
    "test_hub_faults.py",
    "test_hub_jobs.py",
    "test_sjupyter.py",
    "test_class.py",
    "test_pairs.py",
    "test_class_check.py",
    "test_faq.py",
    "test_claims.py",
    "test_nbdime_git.py",
    "test_mutate.py",
    "test_console_blocks.py",
]
LAST = ["test_page_quality.py"]
ALLOWED_SKIPS = tomllib.loads((ROOT / "tests/data/allowed-skips.toml").read_text(encoding="utf-8"))


def pytest_collection_modifyitems(items, config):
    """Order the tests for parallel workers: files that take long run first, so that no worker waits
    for one at the end; the files in LAST run last.
    """
    if hasattr(config, "workerinput"):
        order = {name: number for number, name in enumerate([*LONGEST, ..., *LAST])}
        items.sort(key=lambda item: order.get(item.path.name, order[...]))


@pytest.fixture(scope="session")
def site(tmp_path_factory, request):
    """The HTML folder of a clean build. The first worker that needs it makes it."""
    shared = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        shared = shared.parent
    target, good = shared / "site", shared / "site/good"
    with open(shared / "site.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not good.exists():
            built = build_site(ROOT, target)
            if built.returncode:
                pytest.fail(
                    f"the site does not build:\n{built.stdout}{built.stderr}", pytrace=False
                )
            good.touch()
    return target / "html"


@pytest.fixture(scope="session")
def triton(tmp_path_factory, request):
    """A running small Triton (triton.Triton). Its tests are skipped where it cannot run."""
    if why := cluster.obstacle():
        pytest.skip(why)
    running, end = bring_up(tmp_path_factory.mktemp("cluster") / "state")
    request.config.pluginmanager.get_plugin("proof-recorder").note_versions(running)
    yield running
    end()


@pytest.fixture
def cgroups(triton):
    """Skips the test where Slurm has no cgroups: a process that leaves its parents leaves its job
    there, which no cluster for people allows.
    """
    if triton.memory != "cgroup":
        pytest.skip("no cgroup v1 memory controller here")


@pytest.fixture
def small_tmp(triton):
    """small_tmp(option, *folders) mounts a disk that is full, or has no inodes, on these folders of
    all nodes, until the test ends.
    """
    mounted = []

    def put(option, *folders):
        for node in triton.nodes:
            for folder in folders:
                mounted.append((node, folder))
                triton.run(
                    node,
                    f"mount -t tmpfs -o mode=1777,{option} small {folder} && findmnt "
                    f"--target {folder} --source small && head -c 9000 /dev/zero > "
                    f"{folder}/x",
                    check=False,
                )

    yield put
    for node, folder in mounted:
        triton.run(
            node,
            f"while findmnt --source small --target {folder}; do umount {folder}; done",
            check=False,
        )


@pytest.fixture(scope="module")
def address(site):
    """The address that serves the built site, on the loopback interface."""
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def playwright():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright):
    browser = playwright.chromium.launch(executable_path=HEADLESS, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def page(browser, address):
    """A function that opens a page of the site at a given width.

    The page has a list of its requests, `asked`, and of its faults: errors of scripts and requests
    to other hosts.
    """
    contexts = []

    def open_page(name, width=1280, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            permissions=["clipboard-read", "clipboard-write"],
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.asked, page.faults = [], []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((address, "data:"))
                else page.faults.append(request.url)
            ),
        )
        page.goto(f"{address}/{name}", wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def entry(request):
    """The FAQ entry that the test proves. Afterwards, check that the test has seen the entry's
    messages.
    """
    marker = request.node.get_closest_marker("proves")
    faq_entry = faq.Entry(marker.args[0])
    if len(marker.args) > 1:
        faq_entry.wanted = marker.args[1]
    request.node.add_report_section("setup", "entry", f"{faq.FAQ}:{faq_entry.line}")
    yield faq_entry
    for index, message in enumerate(faq_entry.messages):
        wanted = index in faq_entry.wanted
        assert wanted == (index in faq_entry.seen), f"{faq_entry.label}: ``{message}`` " + (
            "was not seen" if wanted else "was seen: say so where the test is declared"
        )


# The end of a run: one summary line. With CI=true, a skip that is not allowed is a failure.


def _skips(reporter):
    for report in reporter.stats.get("skipped", []):
        yield (
            report.nodeid,
            report.longrepr[2].removeprefix("Skipped: ")
            if isinstance(report.longrepr, tuple)
            else str(report.longrepr),
        )


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not reporter:  # a worker: its controller prints the summary
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
        terminalreporter.write_line(
            f"NOT ALLOWED where CI=true: {name} was skipped: {why}", red=True
        )
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    skipped = sorted({why for _, why in _skips(terminalreporter)})
    line = (
        f"{len(stats.get('passed', []))} passed, {failed} failed, "
        f"{len(stats.get('skipped', []))} skipped"
    )
    terminalreporter.write_line("")
    terminalreporter.write_line(line + (f" ({'; '.join(skipped)})" if skipped else ""))
