"""JupyterHub, as triton/jupyterhub configures it, does what the guide says. The tests use a
reader's browser. test_hub_ends.py tests how servers end.
"""

import base64
import contextlib
import html
import io
import json
import re
import shlex
import shutil
import subprocess
import time
from urllib.parse import quote, urlencode

import pytest
from PIL import Image

from tools import pages
from tools.browser import needs_chromium
from tools.cluster import cluster, hub, jupyter_server
from tools.cluster.hub import HUB, LOGS, PROFILES, TINY, HubServer, Lab, Visit, notebook
from tools.cluster.jupyter_server import PATIENCE
from tools.course import editions
from tools.files import ROOT

RUN = "notebook:run-cell-and-select-next"  # the button Run
DATA = ROOT / "tests/data/hub"
FACTS = cluster.facts()
BIG = next(
    profile.name for profile in FACTS.profiles if profile.kill_gb == 80
)  # more memory than is free beside jobs with 55 GB
REMOVES_COOKIES = """
from jupyter_server.base.handlers import APIHandler

c.Application.log_level = 10
_finish = APIHandler.finish

def finish(handler, *words):
    handler.set_header("Clear-Site-Data", '"cookies"')
    handler.set_header("X-Own", "sent")
    return _finish(handler, *words)

APIHandler.finish = finish
"""
SJUPYTER = (
    # this entry is about JupyterLab without the hub: see test_faq.py
    "triton/apps/jupyter/sjupyter.rst"
)
pytestmark = [needs_chromium, pytest.mark.usefixtures("services")]


@pytest.fixture(scope="module")
def alice(triton, chromium):
    """A window of a user whose server runs, logs as much as it can, and would remove all cookies
    with each answer. The home directory had old logs before, and two old files that are no logs.
    """
    window = Visit(triton, triton.account(), chromium)
    window.user.run("mkdir .jupyter")
    window.user.write("~/.jupyter/jupyter_server_config.py", REMOVES_COOKIES)
    aged = {
        LOGS.replace("*", "100001"): 169,
        LOGS.replace("*", "100002"): 167,
        "mine.log": 169,
        LOGS.replace("*", "100003").replace("~", "kept"): 169,
    }
    for name, hours in aged.items():
        window.user.run(f"mkdir -p kept; touch --date '{hours} hours ago' {name}")
    window.start(PROFILES[0])
    yield window
    window.user.tries("scancel --me")
    window.close()


@pytest.fixture(scope="module")
def server(alice):
    running = HubServer(alice)
    yield running
    running.close()


@pytest.fixture(scope="module")
def kernel(server):
    return server.kernel()


# ---------------------------------------------------------------- start


@pytest.mark.claims(
    ":columns: name = Profile cores = Cores time = Runs for memory = Memory kill = Killed above "
    "idle = When unused"
)
def test_the_start_page_has_the_profiles_of_the_guide(visit):
    """The profiles are those of the guide's table, in the same order."""
    window = visit()
    window.log_in()
    # the notice is below the table
    window.page.get_by_role("button", name="Start", exact=True).wait_for()
    rows = window.page.locator("table tbody tr").all()[: len(PROFILES)]
    shown = [[cell.inner_text().strip() for cell in row.locator("th, td").all()] for row in rows]
    page = "triton/apps/jupyter/hub.rst"
    columns = ("name", "cores", "time", "memory", "kill", "idle")
    headings = re.findall(r"^ +(?::columns: )?\w+ = (.+)$", pages.read(page), re.MULTILINE)
    assert window.page.locator("table thead th").all_inner_texts() == headings, page
    profiles = [profile.in_words() for profile in FACTS.profiles]
    assert shown == [[profile[key] for key in columns] for profile in profiles]
    assert "that no page shows is stopped after that time" in window.said(), (
        "the start page has no notice about unused servers"
    )


def test_the_logo_can_be_read_on_a_dark_page(triton, chromium):
    """Its grey letters stand between its two ends, which are orange."""
    window = hub.Visit(triton, triton.account(), chromium, color_scheme="dark")
    window.open("/hub/login")
    with Image.open(io.BytesIO(window.page.locator(".jpy-logo").screenshot())) as picture:
        shades = picture.convert("L")
    letters = shades.crop((shades.width // 4, 0, shades.width * 3 // 5, shades.height))
    darkest, lightest = letters.getextrema()
    assert lightest - darkest > 80
    window.close()


@pytest.mark.claims(
    "Log in with your user name and password of {{ cluster.university }}: fill them in, press "
    ":guilabel:`Sign in`. You need an account on {{ cluster.name }}.",
    "The hub says the first whatever the reason is: the password is wrong, or has expired; you "
    "have no account on {{ cluster.name }}, or yours has ended.",
    "``Invalid username or password``: the login is refused. It says the same when you have no "
    "account on {{ cluster.name }}.",
)
@pytest.mark.proves("faq-403", [])
@pytest.mark.proves("faq-login", [0])
def test_a_wrong_password_or_an_expired_account_is_refused(visit, triton, entry):
    refused = re.compile(entry.messages[0])
    window = visit()
    window.log_in("wrong")
    entry.shows(window.waits_for(refused), 0)
    stranger = visit("stranger")
    with stranger.page.expect_response(lambda response: response.request.method == "POST") as reply:
        stranger.log_in("secret")
    assert reply.value.status == 403
    stranger.waits_for(refused)
    for expire in ("chage --lastday 0", "usermod --expiredate 1"):
        triton.run("hub", f"{expire} {window.user}")
        window.log_in()
        window.waits_for(refused)


@pytest.mark.claims(
    "The browser keeps no cookies, or has lost this one while the form was open;",
    "In the browser: log in once more.",
    ":Why: The page sets a cookie, and your answer has to bring it back. So no other website can "
    "act with your login.",
    "The word ``_xsrf``: a cookie is missing.",
    "If the message comes again, let the browser keep cookies for {{ hosts.hub }}.",
)
@pytest.mark.proves("faq-403", [])
@pytest.mark.proves("faq-xsrf", [1])
def test_a_login_without_the_forms_cookie_is_repeated(visit, triton, entry):
    window = visit()
    window.page.goto(HUB)
    window.context.clear_cookies()
    window.page.wait_for_timeout(1100)  # within a second the hub signs the same token once more
    window.submit_login()
    entry.shows(window.waits_for("expired"), 1)
    window.submit_login()
    window.page.get_by_role("button", name="Start", exact=True).wait_for()


@pytest.mark.claims(
    "No. The service lets no page show it in a frame:",
    ":You see: ``refused to connect``, in the frame of a course page, for example.",
)
@pytest.mark.proves("faq-embed")
def test_no_page_shows_the_hub_in_a_frame(playwright, triton, tmp_path, entry):
    with jupyter_server.browser(playwright, triton, tmp_path, whole=True) as chromium:
        page = hub.new_window(chromium).new_page()
        page.set_content(f"<iframe src='{HUB}/hub/login'></iframe>")
        entry.shows(page.frame_locator("iframe").locator("#main-message").inner_text())


def take_much_memory(triton):
    """Fill all nodes with jobs that take much memory, so that a BIG server has no room; return the
    number of jobs.
    """
    options = f"--array=1-{2 * len(triton.nodes)} --mem=55G --time=2 --output=/dev/null"
    submit = f"jobs=$(sbatch --parsable {options} --wrap='sleep 120')"
    wait = "while squeue --noheader --array --jobs=$jobs | grep -q ' PD '; do sleep 0.2; done"
    return triton.run("login", f"{submit}; {wait}; echo $jobs").stdout.strip()


@pytest.mark.claims(
    "Your server is a job in the Slurm queue, so the first start takes a few seconds, and longer "
    "when the cluster is full.",
    "The page says ``Pending in queue...``, with Slurm's reason, then ``Cluster job running... "
    "waiting to connect``.",
    "JupyterLab opens.",
    "To see from a terminal what your server waits for:",
    "Open https://{{ hosts.hub }}, log in, choose a profile, and you have Jupyter on {{ "
    "cluster.name }}.",
    "a web service that takes your login and starts your own Jupyter server on {{ cluster.name "
    "}}, at https://{{ hosts.hub }}.",
    "A page with a bar that is a fifth full. Below it:",
    "Your server is a job. Pending, it waits for a free place like any other. Waiting to "
    "connect, it runs but does not answer yet:",
    "``Resources`` and ``Priority`` mean that the cluster is busy. Wait, or stop it and choose a "
    "profile with less memory.",
    "The address of the hub always stays the same: bookmark that one.",
)
@pytest.mark.proves("faq-pending")
def test_a_start_says_what_slurm_does_and_ends_in_jupyterlab(visit, triton, entry):
    """Afterwards a cell runs in JupyterLab."""
    window = visit()
    window.log_in()
    window.choose(BIG)
    others = take_much_memory(triton)
    try:
        window.press_start()
        waiting = window.waits_for(hub.PENDING)
        assert "the cluster is busy" in waiting
        bar = window.page.locator("#progress-bar").get_attribute("style")
        assert "width: 20%" in bar
        entry.shows(waiting)
        [look] = entry.commands()
        assert re.search("Resources|Priority", window.user.run(look))
        page = "triton/apps/jupyter/hub.rst"
        commands = [command.text for block in pages.blocks(page) for command in block.commands]
        [shown] = [command for command in commands if command.endswith("--start")]
        assert re.search("Resources|Priority", window.user.run(shown)), page
        addresses = []
        window.page.on("framenavigated", lambda frame: addresses.append(frame.url))
        window.page.get_by_role("button", name="Stop Server").click()
        triton.run("login", f"scancel {others}")
        window.page.get_by_role("button", name=re.compile("aunch Server")).click()
        assert not any("/user/" in address for address in addresses), "there is no server"
        window.choose(TINY)
        window.press_start()
        messages, _ = window.arrive()
    finally:
        triton.run("login", f"scancel {others}")
    entry.shows(messages, 1)
    later = messages.partition(entry.messages[1])[2]
    assert not re.search(hub.PENDING.pattern, later), "the messages come in the wrong order"
    look = "import os, socket; print(socket.gethostname(), os.environ['SLURM_JOB_ID'])"
    lab = window.notebook("first", look)
    lab.run_cell()
    node, job = lab.output().split()
    assert node.split(".")[0] in triton.nodes and job == window.job()
    window.user.run("scancel --me")


@pytest.mark.claims(
    "That is why a profile has two numbers. Slurm knows only the second: it is what ``squeue`` "
    "and ``sacct`` show as the memory of your server,",
    "``interactive`` is where ``sjupyter``, ``class-check`` and the hub start their jobs.",
)
def test_squeue_and_sacct_show_the_second_number_of_a_profile(alice, triton):
    """Slurm ends the server at the second number. Only the administrators know the first."""
    first = FACTS.profiles[0]
    queued = f"squeue --noheader --jobs={alice.job()} --format='%P %m %C'"
    accounts = f"sacct --noheader --allocations --jobs={alice.job()} --format=ReqMem"
    memory = f"{first.kill_gb}G"
    assert alice.user.run(f"{queued}; {accounts}").split() == [
        FACTS.partitions.interactive,
        memory,
        str(first.cores),
        memory,
    ]
    assert first.memory_gb != first.kill_gb


@pytest.mark.claims(
    "The next start removes those that are {{ logs.keep }} old.",
    "Every server of the hub writes one. Those that are {{ logs.keep }} old are removed at the "
    "next start.",
)
def test_logs_older_than_a_week_are_removed(alice, triton):
    """Younger logs stay."""
    left = alice.user.run(f"ls {LOGS}")
    name = LOGS.partition("/")[2]
    numbers = ("100001", "100002", alice.job())
    assert [name.replace("*", number) in left for number in numbers] == [False, True, True]
    others = alice.user.run("ls mine.log kept").split()
    assert others[::2] == ["mine.log", name.replace("*", "100003")]


def test_the_log_is_readable_by_its_owner_only(alice, kernel, triton):
    """The user's own files have the permissions that a shell gives them."""
    name = LOGS.replace("*", alice.job())
    assert alice.user.run(f"stat --format='%a %U' {name}").split() == ["600", alice.user]
    alice.user.run("rm -f ~/shell; touch ~/shell")
    kernel.prints("import pathlib; (pathlib.Path.home() / 'cell').touch()")
    assert len(set(alice.user.run("stat --format=%a cell shell").split())) == 1


@pytest.mark.claims(
    "You begin in a convenience directory with links to ``home``, ``scratch`` and the other "
    "places. It is read-only: go into one of the links before you make a notebook, which is "
    "saved where you make it.",
    "You begin in a directory with links to ``home`` and ``scratch``.",
)
def test_it_begins_in_a_read_only_folder_with_links(server, alice, triton):
    """The links lead to the filesystems."""
    listed = server.talk("ask", "/api/contents")["content"]
    assert {"home", "scratch", "work"} == {entry["name"] for entry in listed}
    for name, folder in ("home", "~"), ("scratch", FACTS.paths.scratch), ("work", "$WRKDIR"):
        make = f"[ {name} = scratch ] || mkdir -p {folder}/in-{name}"
        there = set(alice.user.run(f"{make}; ls {folder}").split())
        shown = server.talk("ask", f"/api/contents/{name}")["content"]
        assert {entry["name"] for entry in shown} == there != set(), name
    with pytest.raises(AssertionError, match="HTTP Error"):
        server.talk("ask", "/api/contents", {"type": "notebook"})
    made = server.talk("ask", "/api/contents/home", {"type": "notebook"})
    alice.user.run(f"ls ~/{made['name']}")


@pytest.mark.claims(
    "You are your own user on {{ cluster.name }}. So every filesystem of the cluster is there, and "
    "all its software; only ``project`` and ``archive`` are not there."
)
def test_a_notebook_has_the_user_and_modules_of_the_login_node(alice, kernel, triton):
    """The files are the same, too."""
    look = (
        "id --user --name; stat --format='%n %i' ~ $WRKDIR {scratch} {apps}/modulefiles; "
        "module -t avail 2>&1".format(**vars(FACTS.paths))
    )
    inside = kernel.prints(
        f"import subprocess; print(subprocess.run(['bash', '-lc', {look!r}], "
        "capture_output=True, text=True).stdout)"
    )
    assert inside.split() == alice.user.run(look).split() and FACTS.modules.demo in inside


@pytest.mark.claims(
    "JupyterLab is the default. For the classic look, put ``/tree`` in place of ``/lab`` into "
    "the address."
)
def test_the_classic_look_is_at_tree(alice):
    alice.open(f"/user/{alice.user}/")
    alice.page.locator(".jp-LauncherCard").first.wait_for()
    assert alice.page.url.count("/lab") == 1, "the server does not open JupyterLab first"
    alice.page.goto(alice.page.url.replace("/lab", "/tree").partition("?")[0])
    alice.page.get_by_text("Running").first.wait_for()
    alice.page.get_by_text("scratch").first.wait_for()


# ---------------------------------------------------------------- extensions of JupyterLab


@pytest.mark.claims(
    "nbdime, which shows the difference of two notebooks and merges them. The button with the "
    "sign of git, above a notebook, shows what has changed since the last commit;",
    "the ``Git`` tab. It commits,",
    "a double click on a notebook with a conflict lets you choose, change by change;",
)
def test_the_button_and_the_git_tab_show_commit_and_merge(alice):
    """In a repository whose two branches conflict in a notebook, which also has a change that is
    not committed.
    """
    page = alice.page

    def git(command):
        return alice.user.run(f"cd project && {command}")

    def opens(name):
        alice.open(f"/user/{alice.user}/lab/tree/home/project{name}?reset")

    def in_git_tab():
        opens("")
        page.locator(".jp-DirListing-item", has_text="a.ipynb").wait_for()
        page.locator(".jp-SideBar [title=Git]").click()

    def commits(message, look):
        page.get_by_placeholder("Commit message").fill(message)
        page.get_by_role("button", name="Commit", exact=True).click()
        page.get_by_text(message).nth(0).wait_for()  # the commit is in the history
        alice.user.wait_until(f"git -C project log {look} --format=%s -1 | grep -q '{message}'")

    alice.user.run("git init -q -b main project; git config --global user.name x")
    git("git config --global user.email x@example.org")
    for text, then in (
        ("one", "git add .; git commit -qm one; git switch -qc other"),
        ("two", "git commit -qam two; git switch -q main"),
        ("three", "git commit -qam three"),
        ("four", "true"),
    ):
        alice.user.write("~/project/a.ipynb", notebook([f"print('{text}')"]))
        git(then)
    opens("/a.ipynb")
    button = page.get_by_title("Display nbdiff from git HEAD to currently saved version")
    sign = "button.closest('.jp-NotebookPanel-toolbar') && button.querySelector('.fa-git')"
    assert button.evaluate(f"button => Boolean({sign})"), "it has another place, or another sign"
    button.click()
    shown = page.locator(".nbdime-Widget")
    for text in ("print('three')", "print('four')"):
        shown.get_by_text(text).first.wait_for()
    in_git_tab()
    changed = page.get_by_title("a.ipynb \u2022 Modified")
    changed.hover()
    changed.get_by_title("Stage this change").click()
    commits("Say four", "")
    git("git merge other >merge.log; git status --short | grep UU")
    in_git_tab()
    page.get_by_title("a.ipynb \u2022 Conflicted").dblclick()
    page.get_by_text("Incoming", exact=True).wait_for()
    picker = page.locator(".jp-Merge-gutter-picker", has_text=re.compile(r"\S"))
    picker.filter(visible=True).last.click()
    page.get_by_role("button", name="Mark as resolved").click()
    commits("Take two", "--merges")
    cells = json.loads(git("cat a.ipynb"))["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["print('two')"]


@pytest.mark.claims("``:menuselection:``: tests press the button, and open the menu.")
@pytest.mark.parametrize(
    "place, names",
    [
        (place, names)
        for page in pages.sources() + pages.notebooks()
        if page != SJUPYTER
        for place, *names in pages.menus(page)
    ],
)
def test_the_menu_has_what_the_guide_says(alice, triton, place, names):
    if not alice.page.url.endswith("menus.ipynb"):
        alice.notebook("menus", "1").idle()
    assert Lab(alice.page).offers(*names), f"{place}: there is no {' --> '.join(names)}"


@pytest.mark.claims(
    "Run it, with the button or with ``Control-Enter`` or ``Shift-Enter``. ``Shift-Enter`` goes "
    "on to the next cell.",
    "What you ran stays there, with its code, its results and your notes side by side. With some "
    "languages, Python among them, plots stand in between,",
)
def test_the_button_and_both_keys_run_a_cell(alice, triton):
    """Shift+Enter also selects the next cell."""
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 4]);"
    lab, page = alice.notebook("keys", "print('one')", plot), alice.page
    lab.idle()
    button = page.locator(f"{hub.FRONT} [data-command='{RUN}']")
    for number, key, goes_on in (
        (1, "Control+Enter", False),
        (2, "Shift+Enter", True),
        (3, "", True),
    ):
        lab.cell(0).locator(".cm-content").click()
        page.keyboard.press(key) if key else button.click()
        lab.cell(0).locator(".jp-InputPrompt", has_text=f"[{number}]").wait_for()
        assert lab.output().strip() == "one"
        active = page.locator(f"{hub.FRONT} .jp-Cell").evaluate_all(
            "cells => cells.map(cell => cell.classList.contains('jp-mod-active'))"
        )
        assert active.index(True) == goes_on, active
    lab.run_cell(1)
    picture = lab.cell(1).locator(".jp-OutputArea-output img")
    picture.wait_for()
    lab.save()
    alice.user.wait_until("grep -q image/png keys.ipynb")
    alice.open(f"/user/{alice.user}/lab/tree/home/keys.ipynb?reset")
    picture.wait_for()
    assert lab.output().strip() == "one"


@pytest.mark.claims(
    "The :doc:`web service </triton/apps/jupyter/hub>` works in the browser of a tablet: start a "
    "server, open a notebook, run cells with the triangle above them, look at what a long "
    "job has done.",
)
def test_a_tablet_starts_a_server_and_runs_a_cell(triton, chromium):
    """Fingers tap: there are no mouse and no keys."""
    tablet = {"viewport": {"width": 820, "height": 1180}, "has_touch": True, "is_mobile": True}
    with contextlib.closing(Visit(triton, triton.account(), chromium, **tablet)) as window:
        window.user.write("~/touched.ipynb", notebook(["print('by a finger')"]))
        window.begin(TINY)
        window.page.wait_for_url("**/user/**", wait_until="commit")
        window.open(f"/user/{window.user}/lab/tree/home/touched.ipynb?reset")
        lab = window.lab
        lab.idle()
        lab.page.locator(f"[data-command='{RUN}']").tap()
        assert lab.output().strip() == "by a finger"
        window.user.run("scancel --me")


@pytest.mark.claims(
    "a variable inspector, the tab ``Your Variables``, which lists what your kernel holds;",
    "Installed for everyone are:",
)
def test_the_variables_tab_lists_what_the_kernel_holds(alice, triton):
    alice.notebook("held", "answer_of_mine = 6 * 7 * 1001").run_cell()
    alice.page.locator(".jp-SideBar [title='Your Variables']").click()
    alice.page.get_by_text("answer_of_mine", exact=True).wait_for()
    alice.page.get_by_text("42042").wait_for()


def taken(page):
    """(processor in %, memory in MB, that of the job) as JupyterLab's status bar shows them."""
    bar = page.locator("#jp-main-statusbar", has_text=re.compile(r"Mem: .* MB")).inner_text()
    shown = re.search(r"CPU: ([\d.]+) % \| Mem: ([\d.]+) / ([\d.]+) MB", bar)
    assert shown, bar
    return tuple(map(float, shown.groups()))


def wait_for_taken(page, condition):
    """What the status bar shows, as soon as condition(processor, memory) is true."""
    for _ in range(PATIENCE):
        processor, memory, _ = taken(page)
        if condition(processor, memory):
            return memory
        page.wait_for_timeout(1000)
    raise AssertionError(taken(page))


# Two processes compute for 20 seconds; the output is their time on processors in % of that time.
BURNS = """import os, time, warnings
warnings.simplefilter("ignore")  # Python 3.12 and newer warn of a fork in a kernel
began, before, child = time.time(), sum(os.times()[:4]), os.fork()
while time.time() < began + 20: pass
if not child: os._exit(0)
os.wait(); print(100 * (sum(os.times()[:4]) - before) / (time.time() - began))"""
GROWS = """import time
blocks = []
while True:
    blocks.append(bytearray(5 * 2**20))
    time.sleep(1.5)"""
RED = """getComputedStyle(document.querySelector(
"#jp-main-statusbar [title='Current resource usage']")).backgroundColor == 'rgb(255, 210, 210)'"""


@pytest.mark.proves("faq-red")
@pytest.mark.claims(
    "It counts Jupyter and what it has started, kernels and terminals, and nobody else's programs "
    "on the node.",
    "One core that computes all the time is 100 %, a second one makes it 200 %.",
    "* The second is the memory, and behind the slash stands what the job has.",
    "* The tab ``Kernel Usage``, on the right, says what the kernel of the notebook in front of "
    "you takes of that.",
    ":You see: Two numbers for the memory that are nearly the same, on a red ground.",
    ":Why: Little is left of the memory that you have. Slurm ends what takes more than there is.",
    "JupyterLab says it in the bar at the bottom,",
    "* The first number is the processor. One core that computes all the time is 100 %,",
    "A notebook that waits for you takes nearly none.",
    "It turns red when little is left. It does so early, at about three quarters: for the colour, "
    "memory that your programs share counts for each of them.",
    "The bar at the bottom shows :ref:`memory and processor <hub-load>`, not the GPU.",
    "Or start again with a bigger profile. :ref:`hub-load` says which kernel takes how much.",
)
def test_the_status_bar_shows_what_the_server_takes(visit, triton, entry):
    window = visit()
    window.start(TINY)
    lab = window.notebook("takes", "import numpy; x = numpy.ones(100 * 2**17)", BURNS, GROWS)
    page, before = window.page, -100
    lab.idle()
    while abs(taken(page)[1] - before) > 5:  # JupyterLab itself takes some seconds to settle
        before = taken(page)[1]
        page.wait_for_timeout(12000)
    lab.run_cell(0)
    assert wait_for_taken(page, lambda _, memory: memory > before + 90) < before + 130
    assert taken(page)[2] == 400, "what the profile has"
    wait_for_taken(page, lambda processor, _: processor < 10)
    lab.run_cell(1)
    shown = []
    for seconds in (9, 4, 4):  # each number is that of the last five seconds
        page.wait_for_timeout(seconds * 1000)
        shown.append(taken(page)[0])
    page.locator(".jp-SideBar [title='Kernel Usage']").first.click()
    panel = page.locator(".jp-KernelUsage-view", has_text="Memory")
    panel.wait_for()
    assert "takes.ipynb" in panel.inner_text() and "Host CPU" not in panel.inner_text()
    lab.idle()
    used = float(lab.output(1))  # without the share of JupyterLab's server
    assert 0.7 * used < sorted(shown)[1] < 1.3 * used + 25, (shown, used)
    lab.run_cell(2)
    wait_for_taken(page, lambda *_: page.evaluate(RED))
    _, memory, limit = taken(page)
    # The colour follows the sum of what is resident in each process, the number counts it once.
    resident = "ps -u $USER -o rss= | awk '{sum += $1} END {print sum / 1024}'"
    sums = [float(window.user.run(resident, host=node)) for node in ("c1", "c2", "c3", "c4")]
    assert 2 / 3 * limit < memory < limit and max(sums) > 0.85 * limit, (memory, sums)
    entry.shows(page.locator("#jp-main-statusbar [title*=usage]").get_attribute("title"))
    window.user.run("scancel --me")


@pytest.mark.claims(
    ":menuselection:`Kernel --> Shut Down Kernel` - that kernel and its variables, and their "
    "memory is free",
    "Then make room: :menuselection:`Kernel --> Shut Down Kernel` in notebooks that you do "
    "not need now, ``del`` for a variable.",
)
def test_shut_down_kernel_ends_that_kernel_alone(alice, server, triton):
    lab, other = alice.notebook("shut", "import os; print(os.getpid())"), server.kernel()
    lab.run_cell()
    ask = f"ps --no-headers -o args= --pid {lab.output().strip()}"
    node = alice.user.run("squeue --me --noheader --format=%N").strip()
    assert "ipykernel" in triton.run(node, ask).stdout
    [kernel] = [
        session["kernel"]["id"]
        for session in server.talk("ask", "/api/sessions")
        if session["path"].endswith("shut.ipynb")
    ]
    lab.menu("Kernel", "Shut Down Kernel")
    triton.run(node, f"for i in $(seq {PATIENCE * 5}); do {ask} || exit 0; sleep 0.2; done; exit 1")
    assert kernel not in {left["id"] for left in server.talk("ask", "/api/kernels")}
    assert other.prints("print(1)") == "1", "the server or another kernel has ended"


@pytest.mark.claims("notebooks save themselves,")
def test_a_notebook_saves_itself(alice, triton):
    """The setting is two minutes, here one second.

    After a save that was slow JupyterLab waits ten times as long as it took.
    """
    settings = "~/.jupyter/lab/user-settings/@jupyterlab/docmanager-extension"
    alice.user.run(
        f"mkdir -p {settings}; cat > {settings}/plugin.jupyterlab-settings",
        # of a slow disk it would say that another program has changed the file
        input=json.dumps({"autosaveInterval": 1, "lastModifiedCheckMargin": 60_000}),
    )
    try:
        alice.open()  # JupyterLab reads its settings when it is loaded
        lab = alice.notebook("unsaved", "1")
        lab.idle()
        lab.write("written_and_left = ")
        alice.user.wait_until("grep -q written_and_left unsaved.ipynb", 3 * PATIENCE)
    finally:
        alice.user.run(f"rm -r {settings}")


@pytest.mark.claims(
    "the modules integration: the ``Software Modules`` tab loads :doc:`modules "
    "</triton/tut/modules>` for kernels that you start afterwards;",
    "Kernels that you start after that have the modules, kernels that run already do not.",
    "or the ``Software Modules`` tab and then a new kernel.",
    "* For today only: the ``Software Modules`` tab of JupyterLab.",
)
def test_the_modules_tab_loads_a_module_at_a_click(alice, server, kernel):
    """Kernels that start afterwards have the module."""
    module, look = FACTS.modules.demo, "import os; print(os.environ.get('DEMO_GREETING', 'none'))"
    alice.open(f"/user/{alice.user}/lab?reset")
    alice.page.locator(".jp-SideBar [title='Software Modules']").click()
    offered = alice.page.locator("#module_avail_list li", has_text=module)
    offered.hover()
    offered.get_by_role("button", name="Load").click()
    alice.page.locator("#module_loaded_list li", has_text=module).wait_for()
    try:
        assert server.kernel().prints(look) != "none" == kernel.prints(look)
    finally:
        server.talk("ask", "/module", {"modules": [module]}, "DELETE")
    assert server.kernel().prints(look) == "none"


@pytest.mark.claims(
    "In the room, let everybody run ``!class-check`` in a first cell.",
    "There it also says whether the server has the memory of the profile, and whether WebSockets "
    "pass:",
)
def test_in_a_first_cell_class_check_says_what_the_server_has(alice, triton):
    alice.user.run("mkdir check")
    more = "!JUPYTERHUB_SERVICE_PREFIX=/nowhere/ class-check --profile 'More'"
    lab = alice.notebook("check/check", "!class-check --profile Long", more)
    lab.run_cell()
    lab.cell(0).get_by_text("All is well.").wait_for()
    report = lab.output()
    assert "WRONG" not in report, report
    assert re.search(r"ok +websocket: WebSockets pass", report), report
    assert re.search(r"ok +memory: .* 8[.]0 GB", report), report
    lab.run_cell(1)
    lab.cell(1).get_by_text("what to do stands below each").wait_for()
    report = lab.output(1)
    assert "its time is up then" not in alice.said(), "the warning appears days before the end"
    assert re.search(r"WRONG +websocket: .* lets no WebSocket through", report), report
    assert re.search("WRONG +memory: .* 8[.]0 GB, and .* 25 GB", report), report


@pytest.mark.claims("You cannot install extensions yourself,")
def test_nobody_installs_extensions(server, alice, triton):
    install = {"cmd": "install", "extension_name": "jupyterlab-git"}
    with pytest.raises(AssertionError, match="HTTP Error"):
        server.talk("ask", "/lab/api/extensions", install)
    place = f"{FACTS.paths.jupyter_env}/share/jupyter/labextensions/x"
    assert alice.user.tries(f"touch {place}").returncode


# ---------------------------------------------------------------- other users


def test_nobody_reaches_anothers_server_files_or_api(alice, server, visit, triton):
    """The API is the hub's."""
    other = visit()
    other.log_in()
    other.page.locator("#spawn_form").wait_for()
    theirs = f"/user/{alice.user}"
    assert other.ask("GET", "/api/contents", base=theirs).status in (403, 404)
    other.open(f"{theirs}/lab")
    assert "403" in other.said() and not other.page.locator(".jp-LauncherCard").count()
    for way in ("GET ", "POST /server", "DELETE /server", "POST /tokens"):
        method, path = way.split(" ")
        answer = other.ask(method, f"/users/{alice.user}{path}", base="/hub/api")
        assert answer.status in (403, 404), way
    assert other.user.tries(f"ls {FACTS.paths.home}/{alice.user}").returncode
    asks = {"note": "a test"}
    made = other.ask("POST", f"/users/{other.user}/tokens", asks, base="/hub/api").json()
    route = rf"route /\S*{theirs} -> https://([\w.]+):(\d+)"
    node, port = re.findall(route, hub.log(triton, "proxy"))[-1]

    def asked(with_token, way):
        look = (
            f"curl --silent --insecure --output /dev/null --write-out '%{{http_code}}' "
            f"--header 'Authorization: token {with_token}' {way}/api/contents"
        )
        return other.user.tries(look).stdout

    address = f"{hub.own(alice.user)}{theirs}"
    assert asked(made["token"], address) in ("403", "404")
    assert asked(server.token, address) == "200", "the owner has no access either"
    for scheme in ("http", "https"):  # without the certificate of the proxy
        assert asked(server.token, f"{scheme}://{node}:{port}{theirs}") == "000"
    node, _, _ = node.partition(".")
    listed = other.user.run("ls /tmp", node).split()
    begins = next(name for name in listed if name.startswith(f"jupyter-{alice.job()}-"))
    assert other.user.tries(f"ls /tmp/{begins}", node).returncode


def test_a_page_of_another_site_cannot_use_a_login(alice):
    """The login is a reader's at the hub."""
    alice.open()
    for path in (f"/user/{alice.user}/api/kernels", f"/hub/api/users/{alice.user}/tokens"):
        # The request has no token of the hub's forms.
        assert alice.page.evaluate(hub.FETCH, ["POST", path, "", "{}"])["status"] == 403, path


ATTEMPTS = (DATA / "attempts.js").read_text(encoding="utf-8")


@pytest.mark.claims(
    "Your server has an address of its own, a name below that of the hub: ``{{ hosts.servers "
    "}}``. So a page on another user's server cannot use your login, even if you open it.",
    "The service is tried as a stranger would try it: in a browser with all logins, a page "
    "of one user does nothing for another.",
)
def test_a_page_of_one_user_does_nothing_for_another(alice, server, visit):
    """The browser of a reader with all logins opens a page at the name of another user. That page
    can read nothing, change nothing and show nothing.
    """
    other = visit().user
    theirs, user = hub.own(other), alice.user
    page = alice.page_of(theirs)
    mine = f"{hub.own(user)}/user/{user}"
    attempts = {
        "read": [f"{mine}/api/contents", f"{mine}/lab", f"{HUB}/hub/home", f"{HUB}/hub/api/user"],
        "send": [
            (f"{mine}/api/kernels", '{"name": "python3"}'),
            (f"{HUB}/hub/api/users/{user}/tokens", "{}"),
            (f"{HUB}/hub/api/users/{user}/servers/by-another", "{}"),
        ],
        "listen": [mine.replace("https", "wss") + "/api/events/subscribe"],
        "show": [f"{mine}/lab", f"{HUB}/hub/home"],
    }

    def state():
        return [
            server.talk("ask", "/api/kernels"),
            sorted(alice.ask("GET", f"/users/{user}", base="/hub/api").json()["servers"]),
            len(alice.ask("GET", f"/users/{user}/tokens", base="/hub/api").json()["api_tokens"]),
        ]

    before = state()
    own = alice.page_of(hub.own(user))
    listens = {"read": [], "send": [], "listen": attempts["listen"], "show": []}
    assert own.evaluate(ATTEMPTS, listens) == ["open"], "the user's own page has no access either"
    own.close()
    assert page.evaluate(ATTEMPTS, attempts) == [""] * 5
    assert [frame.url for frame in page.frames[1:]] == ["chrome-error://chromewebdata/"] * 2
    assert state()[1:] == before[1:] and len(state()[0]) == len(before[0])
    sent = {cookie["name"] for cookie in alice.context.cookies(f"{theirs}/user/{other}/lab")}
    assert sent <= {"jupyterhub-session-id"}, "the server got a cookie that is a login"
    page.evaluate(f"location.href = '{HUB}/hub/logout'")
    page.wait_for_url(f"{HUB}/hub/home")
    logout = [page.get_by_role(role, name="Logout").count() for role in ("link", "button")]
    assert any(logout), "the logout is not the reader's"
    page.goto(f"{theirs}/hub/login")
    assert not page.url.startswith(theirs), "the login page appears at the name of a user's server"
    page.close()


@pytest.mark.claims("and its log has the address that a request really comes from.")
def test_the_log_has_the_address_that_a_request_comes_from(triton, kernel):
    """The address is not the one in a header of the request, whether it comes through the proxy or
    from a compute node.
    """
    lies = (
        "--header 'X-Real-Ip: 192.0.2.1' --header 'X-Forwarded-For: 192.0.2.2' --silent "
        "--output /dev/null"
    )
    mark = f"/hub/no-such-{time.monotonic_ns()}"
    triton.run("laptop", f"curl {lies} {HUB}{mark}")
    direct = (
        "curl --cacert $JUPYTERHUB_SSL_CLIENT_CA --cert $JUPYTERHUB_SSL_CERTFILE --key "
        "$JUPYTERHUB_SSL_KEYFILE "
        f"{lies} https://{FACTS.hosts.inside}:8081{mark}"
    )
    node = kernel.prints(
        f'import os, subprocess; subprocess.run("{direct}", shell=True); '
        "print(os.environ['SLURMD_NODENAME'])"
    )
    addresses = [
        re.search(r"@([^@)]*)\)", line)[1]
        for line in hub.log(triton).splitlines()
        if f"GET {mark}" in line
    ]
    known = {host.name: host.addresses for host in cluster.plan(len(triton.nodes))}
    assert addresses == [known["laptop"]["campus"], known[node]["cluster"]]


@pytest.mark.parametrize(
    ("asks", "says"),
    [
        (f"[{HUB[8:]!r}], 60", ""),
        ("['other.example'], 60", "is not for other.example"),
        ("[], 9999", "ends in 18"),
    ],
)
def test_expiring_or_wrong_certificates_are_reported(triton, asks, says):
    """The hub reports them in its log when it starts. The certificates between hub, proxy and
    servers are valid for five years.
    """
    certificate = "/var/lib/jupyterhub/tls/hub-internal/hub-internal.crt"
    look = (
        "import pathlib, certificates; "
        f"print(certificates.faults(pathlib.Path('{certificate}'), {asks}))"
    )
    output = hub.as_hub(
        triton, f'PYTHONPATH=/etc/jupyterhub /opt/jupyterhub/bin/python -c "{look}"'
    ).stdout.strip()
    assert says in output and bool(output) == bool(says), output


# {names of the browsers' certificate: the message of the hub at its start}
CERTIFICATES = {
    f"DNS:{HUB[8:]}": f"is not for *.{HUB[8:]}. Put one there that is good for all; if you get "
    'none for a wildcard, see "Without a wildcard name" in README.md.\n',
    f"DNS:*.{HUB[8:].partition('.')[2]},DNS:*.{HUB[8:]}": "",
    "": "cannot be read: ",
}


@pytest.mark.claims("The hub itself says so at its start.")
@pytest.mark.parametrize("names", CERTIFICATES)
def test_a_certificate_without_a_name_for_users_is_told(triton, names):
    """The hub reports it when it starts.

    It does so where users have names of their own, and if the file is not a certificate.
    """
    file, load = (
        "/etc/jupyterhub/tls/cert.pem",
        "from jupyterhub.app import JupyterHub; "
        "JupyterHub().load_config_file('/etc/jupyterhub/jupyterhub_config.py')",
    )
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 "
        f"-subj /CN=x -addext subjectAltName={names} -keyout /dev/null -out {file}"
    )
    triton.run("hub", f"cp -p {file} /root/cert.pem; {make if names else f'echo none > {file}'}")
    try:
        output = hub.as_hub(triton, f'/opt/jupyterhub/bin/python -B -c "{load}"').stderr
    finally:
        triton.run("hub", f"mv /root/cert.pem {file}")
    begin = f"JupyterHub: the certificate {file} "
    assert (
        output.startswith(begin + CERTIFICATES[names])
        if CERTIFICATES[names]
        else begin not in output
    ), output


def test_the_hub_waits_for_certificates_that_are_being_made(triton):
    """It begins beside the proxy, which makes them once: all are there when it lets the lock go."""
    makes = "flock /var/lib/jupyterhub sleep 3 & sleep 0.5"
    begins = "setpriv --reuid jupyterhub --regid jupyterhub --init-groups /etc/jupyterhub/start-hub"
    still = triton.run("hub", f"{makes}; {begins} --generate-certs; jobs -r").stdout
    assert still == "", "it has begun without them"


@pytest.mark.claims("The hub's own port answers in the cluster's network alone,")
def test_readers_reach_the_hub_through_the_proxy_alone(triton):
    """The hub's own port answers only in the cluster's network."""
    look = "curl --silent --insecure --max-time 5 --output /dev/null https://{}:8081/hub/api/"
    address = next(host.addresses["campus"] for host in cluster.plan(1) if host.role == "hub")
    for host, name in (("laptop", FACTS.hosts.hub), ("login", address), ("hub", "127.0.0.1")):
        assert triton.run(host, look.format(name), check=False).returncode == 7, host
    assert triton.run(triton.nodes[0], look.format(FACTS.hosts.inside), check=False).returncode in (
        55,
        56,
    ), "the port answers without a certificate"


# ---------------------------------------------------------------- what it refuses


def test_no_text_of_a_profile_breaks_the_batch_script(alice, triton):
    assert any("'" in name for name in PROFILES)
    alice.user.run(f"scontrol write batch_script {alice.job()} - | bash -n")


def test_a_link_starts_no_server(visit):
    """Nor do options that are no profile."""
    window = visit()
    window.log_in()
    window.page.locator("#spawn_form").wait_for()
    for options in (
        {"options": "x"},
        {"profile": "no such"},
        {"profile": [TINY]},
        {"memory": "1T", "profile": TINY},
    ):
        answer = window.ask("POST", f"/users/{window.user}/server", options, base="/hub/api")
        assert answer.status == 400, options
    window.open(f"/hub/spawn?profile={TINY}")
    assert "Nothing was started. Choose a profile, and press Start." in window.said()
    assert not window.job()


def test_the_hub_is_no_root_and_sudo_lists_what_it_may_do(triton, alice):
    look = "ps -o user:20=,args= -e | awk '/bin\\/(jupyterhub|node)/ && !/awk/ {print $1}'"
    users = triton.run("hub", look).stdout.split()
    assert len(users) >= 2 and set(users) == {"jupyterhub"}
    listed = triton.run("hub", "sudo --list --other-user=jupyterhub").stdout
    defaults, _, allowed = listed.partition("may run the following commands")
    kept = re.findall(r"env_keep[^,]*", defaults)
    assert "!env_reset" not in defaults and kept == ['env_keep="JUPYTERHUB_* JPY_*"'], defaults
    look = "/opt/jupyterhub/bin/python -c 'import jobs; print(*jobs.SQUEUE)'"
    listing = triton.run("hub", f"cd /etc/jupyterhub; {look}").stdout.strip()
    [line] = allowed.splitlines()[1:]
    assert (
        line.replace("\\", "")
        == f"    (%users) NOPASSWD: /usr/bin/{listing}, /usr/bin/sbatch --parsable, "
        "/usr/bin/scancel ^[0-9]+$"
    )

    def may(user, command):
        sudo = f"sudo --non-interactive --user={user} {command} </dev/null"
        return hub.as_hub(triton, sudo, check=False)

    words = shlex.join(listing.split())
    assert may(alice.user, words).stdout, "the hub calls the command with other arguments"
    for command in (
        "id",
        "sbatch --parsable --uid=0",
        "scancel --user=root",
        f"scancel --signal=KILL {alice.job()}",
        "/bin/sh -c id",
        "squeue",
    ):
        assert may(alice.user, command).returncode, command
    for user in ("root", "slurm", "munge"):
        assert may(user, "sbatch --parsable").returncode, user


@pytest.mark.claims(
    "Notebooks and terminals of JupyterHub and of ``sjupyter`` have none of those variables:",
    "You can hand in jobs from a notebook, too: in a cell, ``!sbatch notebook.sh`` does what it "
    "does in a terminal, and ``!squeue --me`` shows the job.",
    "``squeue --me`` in a terminal shows it too.",
)
def test_a_job_is_submitted_from_a_notebook(server, triton):
    """The variables of the server's own job are not passed on, so that srun in the new job does not
    read them as options.
    """
    inner = (
        "cd; sbatch --wait --mem-per-cpu=100M --output=inner.txt --wrap='srun printenv "
        "SLURMD_NODENAME' > /dev/null; cat inner.txt; srun printenv SLURM_JOB_ID"
    )
    printed = server.kernel().prints(
        f"import os, subprocess; print(subprocess.run({inner!r}, shell=True, "
        "capture_output=True, text=True), os.environ['SLURM_JOB_ID'])"
    )
    node, job, own = re.fullmatch(
        r".*stdout='(.*)\\n(\d+)\\n', stderr=''\) (\d+)", printed, re.DOTALL
    ).groups()
    assert node in triton.nodes and job == own
    submit = "!cd; sbatch --parsable --hold --mem=50M --wrap true"
    held, *listed = server.kernel().prints(f"{submit}\n!squeue --me").splitlines()
    server.kernel().prints(f"!scancel {held}")
    assert {held, job} <= {line.split()[0] for line in listed}


@pytest.mark.claims(
    ":doc:`Kernels you can <kernels>` install yourself.",
    "Nobody but you reaches your kernel, a kernel of your own too: JupyterLab talks to it "
    "through Unix sockets in a folder of yours.",
    "Nobody else on a node reads or reaches a kernel: :doc:`which ones "
    "</triton/apps/jupyter/kernels>`.",
)
def test_nobody_else_on_the_node_reaches_a_kernel(alice, server, triton):
    """Over TCP, others could read everything that it prints, or send more than it has memory for.
    So it has sockets in a folder of its owner, also for what its forked children print.
    """
    node = alice.user.run("squeue --me --noheader --format=%N").strip()
    folder = f"{FACTS.paths.user_kernels}/mine"
    alice.user.run(f"mkdir -p {folder}")
    alice.user.write(f"{folder}/kernel.json", pages.read("triton/apps/jupyter/demo-kernel.json"))
    codes = {"python3": "print(1)", "bash": "echo 1", "ir": "cat(1)", "mine": "print(1)"}
    for name, code in codes.items():
        assert server.kernel(name).prints(code) == "1"
    forks = "import os, warnings; warnings.simplefilter('ignore'); child = os.fork()\n"
    forks += "if child: os.waitpid(child, 0)\nelse: print(2, flush=True); os._exit(0)"
    assert server.kernel().prints(forks) == "2"
    [(args, ports)] = triton.listening(node, alice.user).items()
    assert "singleuser" in args and ports == 1
    folder = f"/tmp/jupyter-{alice.job()}-*"
    sockets = alice.user.run(f"find {folder}/runtime -type s", node).split()
    assert len(sockets) >= 5 * len(server.talk("ask", "/api/kernels")), sockets
    assert triton.run(node, f"stat --format='%a %U' {folder}").stdout.split() == ["700", alice.user]


COMES_IN = """import os, sys
from distributed import Client
Client(sys.argv[1], timeout=5).run_on_scheduler(os.getuid)
"""


@pytest.mark.claims(
    "In a notebook of JupyterHub, two lines start it on the cores of your server:",
    "Without ``security=True`` Dask does not start here, and says that its cluster failed to "
    "start.",
    "So are engines that a notebook starts by ``ipyparallel.Cluster``.",
    "Dask and ipyparallel in a notebook obey nobody else on the node.",
)
def test_dask_and_engines_in_a_notebook_obey_nobody_else(visit, triton):
    """As it comes, Dask takes orders from everybody on the node, and makes its process import from
    a folder in /tmp that others may have made. What engines print goes to everybody who asks.
    """
    window = visit()
    window.start(PROFILES[0])
    other = triton.account()
    node = window.user.run("squeue --me --noheader --format=%N").strip()
    folder = "/tmp/dask-scratch-space"
    plant = f"mkdir -m 777 {folder} && echo > {folder}/wave.py"
    triton.run(node, plant, other)
    server = HubServer(window)
    try:
        kernel = server.kernel()
        kernel.prints("from dask.distributed import Client")
        assert "Cluster failed to start" in kernel.execute("Client(n_workers=1)")["error"]
        page = pages.read("triton/tut/parallel.rst")
        [client] = re.findall(r"^   (client = Client\(.*\))$", page, re.MULTILINE)
        kernel.prints(client.replace(")", ", n_workers=1)"))
        where = "lambda: __import__('wave').__file__"
        places = kernel.prints(f"print(client.submit({where}).result(), ({where})())").split()
        assert len(places) == 2 and not [place for place in places if "/tmp/" in place]
        given = kernel.prints("import os; print(open(f'/proc/{os.getppid()}/environ').read())")
        assert "JOBLIB_TEMP_FOLDER=/dev/shm" in given
        assert re.search("TORCHINDUCTOR_CACHE_DIR=/tmp/jupyter-.*/runtime/torch", given)
        address = kernel.prints("print(client.scheduler.address)").partition("//")[2]
        triton.write(node, "~/comes_in.py", COMES_IN, other)
        python = f"DASK_ROOT_CONFIG=/none timeout 60 {jupyter_server.CENTRAL}/python"
        refused = triton.run(node, f"{python} comes_in.py tcp://{address}", other, check=False)
        assert "reset by peer" in refused.stderr
        kernel.prints("client.shutdown()")
        kernel.prints("import glob, ipyparallel, json; engines = ipyparallel.Cluster(n=1)")
        kernel.prints("engines.start_and_connect_sync()")
        kernel.prints("[info] = glob.glob(engines.profile_dir + '/security/*-client.json')")
        assert kernel.prints("print(json.load(open(info))['curve_serverkey'])") != "None"
    finally:
        server.close()
        triton.run("login", "scancel --me", window.user)
        triton.run(node, f"rm -r {folder}")


@pytest.mark.claims(
    "The debugger of Python is off, in JupyterLab and for VS Code:",
    "No debugger of a kernel opens a port.",
)
def test_kernels_have_no_debugger(alice, triton):
    """A debugger would open a port on the node without a password."""
    triton.write("login", "~/debugger.py", (DATA / "debugger.py").read_text(), alice.user)
    run = f"{jupyter_server.CENTRAL}/python debugger.py"
    assert triton.run("login", run, alice.user).stdout == "False\n"
    alice.notebook("debugged", "1").run_cell()
    assert alice.page.locator(".jp-Toolbar-item").count() > 5
    assert not alice.page.locator(
        ".jp-DebuggerBugButton, .jp-DebuggerSidebar, [title*=Debugger]"
    ).count()


def test_no_button_in_a_text_of_others_gives_jupyterlab_an_order(alice):
    """Such an order could start a terminal, or have a kernel run what the text says."""
    order = '<button data-commandlinker-command="terminal:create-new">Press</button>'
    content = json.loads(notebook(["1"]))
    content["cells"][0] = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": order}
    alice.user.write("~/order.ipynb", json.dumps(content))
    alice.open(f"/user/{alice.user}/lab/tree/home/order.ipynb?reset")
    button = alice.page.locator(".jp-RenderedMarkdown button", has_text="Press")
    button.wait_for()
    assert button.get_attribute("data-commandlinker-command") is None


def test_a_picture_in_a_text_of_others_logs_nobody_out(alice):
    """Its address is that of the logout, at the hub and at the server. The text is only opened."""
    server = f"/user/{alice.user}"
    addresses = [f"{HUB}/hub/logout", f"{hub.own(alice.user)}{server}/logout"]
    content = json.loads(notebook(["1"]))
    pictures = "".join(f"![]({address})" for address in addresses)
    content["cells"][0] = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": pictures}
    alice.user.write("~/pictures.ipynb", json.dumps(content))
    alice.open(f"{server}/lab")
    alice.page.locator(".jp-LauncherCard, .jp-Notebook").first.wait_for()
    with (
        alice.page.expect_response(addresses[0]),
        alice.page.expect_response(addresses[1]),
    ):
        alice.lab.open("home/pictures.ipynb")
    alice.page.wait_for_load_state("networkidle")
    assert alice.ask("GET", "/contents", base=f"{server}/api").status == 200
    assert alice.ask("GET", f"/users/{alice.user}", base="/hub/api").status == 200
    alice.lab.close_all()


def test_no_page_of_others_names_a_server(alice):
    """JupyterHub notes a name as soon as its form is asked for, and a user has three at most."""
    servers = f"/users/{alice.user}?include_stopped_servers"

    def named(origin, name):
        page = alice.page_of(origin)
        address = f"{HUB}/hub/spawn/{alice.user}/{name}?display_name=Words"
        page.evaluate(
            "address => fetch(address, {mode: 'no-cors', credentials: 'include'})", address
        )
        page.close()
        return name in alice.ask("GET", servers, base="/hub/api").json()["servers"]

    assert not named(hub.own(alice.user), "by-another")
    assert named(HUB, "by-the-hub"), "this test sees no names"
    alice.ask(
        "DELETE", f"/users/{alice.user}/servers/by-the-hub", {"remove": True}, base="/hub/api"
    )


@pytest.mark.claims("It shows a Vega plot as text,")
def test_jupyterlab_shows_the_text_of_a_vega_plot(alice, triton):
    """Its data may be any file of the server, and the address of its picture tells them."""
    plot = (cluster.ROOT / "tests/data/commands/of_somebody/plot.vg").read_text(encoding="utf-8")
    alice.user.write("~/plot.vg", plot)
    if alice.lab.shown():
        alice.lab.open("home/plot.vg")
    else:
        alice.open(f"/user/{alice.user}/lab/tree/home/plot.vg?reset")
    alice.page.locator(".jp-FileEditor").get_by_text("marks").wait_for()
    policy = alice.ask("GET", "/tree").headers["content-security-policy"]
    assert "img-src 'self'" in policy, "the classic Notebook draws it"


@pytest.mark.claims(
    "Those of somebody else's notebook appear when you run its cells, and not before.",
    "sliders and buttons of ``ipywidgets``,",
)
@pytest.mark.claims(
    "The notebook keeps this text. The slider itself is there when its cell has run in your "
    "kernel.",
    "Run the cell again. In the kernel Python 3 that is all, since our JupyterLab can show "
    "sliders.",
)
@pytest.mark.proves("faq-slider")
def test_widgets_of_others_wait_until_their_cell_is_run(alice, triton, entry):
    """Those that a notebook has stored may hold any HTML."""
    view = "application/vnd.jupyter.widget-view+json"
    states = {
        name: {
            "model_module": f"@jupyter-widgets/{module}",
            "model_module_version": "2.0.0",
            "model_name": f"{kind}Model",
            "state": state,
        }
        for name, module, kind, state in (
            ("layout", "base", "Layout", {}),
            ("style", "controls", "HTMLStyle", {}),
            (
                "html",
                "controls",
                "HTML",
                {"layout": "IPY_MODEL_layout", "style": "IPY_MODEL_style", "value": "of others"},
            ),
        )
    }
    stored = json.loads(hub.notebook(["import ipywidgets; ipywidgets.IntSlider(7)"]))
    kept = {"state": states, "version_major": 2, "version_minor": 0}
    stored["metadata"]["widgets"] = {view.replace("view", "state"): kept}
    shown = {view: {"model_id": "html", "version_major": 2, "version_minor": 0}}
    data = shown | {"text/plain": "IntSlider(value=7)"}
    output = {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": data}
    stored["cells"][0]["outputs"] = [output]
    alice.user.write("~/widgets.ipynb", json.dumps(stored))
    alice.open(f"/user/{alice.user}/lab/tree/home/widgets.ipynb?reset")
    cell = alice.lab.cell(0)
    text = cell.get_by_text("IntSlider(value=7)")
    entry.shows(text.inner_text())
    alice.lab.idle()
    assert not alice.page.get_by_text("of others").count()
    alice.lab.run_cell()
    cell.locator(".jupyter-widgets.widget-slider", has_text="7").wait_for()
    assert not text.count()


def test_files_behind_a_link_are_sent_but_no_hidden_ones(alice, triton):
    """JupyterLab downloads, and shows pictures in a text, by this address. All is behind a link."""
    alice.user.run("echo words > sent.txt; echo words > .hidden.txt")
    assert alice.ask("GET", "/files/home/sent.txt").text == "words\n"
    assert alice.ask("GET", "/files/home/.hidden.txt").status == 404


def asks(page, address, question):
    """Follow a link of somebody else, and see the question."""
    page.goto(address)
    page.get_by_text(question).wait_for()


@pytest.fixture(scope="module")
def kernels(server):
    """The kernels that run now, by their numbers."""
    return lambda: {kernel["id"] for kernel in server.talk("ask", "/api/kernels")}


def test_the_git_tab_takes_no_bare_repository_of_others(alice, triton):
    """The settings of one may name programs that git runs."""
    alice.user.run("git init --quiet --bare copied/from-others")
    ask = "/git/home/copied/from-others/show_prefix"
    assert "cannot use bare repository" in alice.ask("POST", ask, {}).text


@pytest.mark.claims("so the server asks before it does either.")
def test_a_link_copies_no_repository_without_a_question(alice, triton):
    """Nor does a request that another page sends in secret: it needs the token of the question."""
    repository = "https://example.org/x.git"
    base = f"{hub.own(alice.user)}/user/{alice.user}/git-pull"
    link = urlencode({"repo": repository, "branch": "main", "targetpath": "home/of-others"})
    page = alice.context.new_page()
    for way in (f"{base}?{link}", f"{base}/api?{link}", f"{base}?{link}&_xsrf=x"):
        asks(page, way, f"A link wants to copy {repository} into home/of-others")
    guides = {"repo": FACTS.site.repository, "branch": "main", "targetpath": "home/guide"}
    for more in ({}, {"urlpath": "lab/tree/home/x"}, {"urlpath": "lab/tree/home/guide/x"}):
        asks(page, f"{base}?{urlencode(guides | more)}", "A link wants to copy")
    asks(page, f"{base}?{link}", "A link wants to copy")
    page.get_by_role("link", name="Go on").click()
    page.get_by_text("Synchronizing").wait_for()
    page.close()


def test_no_double_click_on_another_page_answers_a_question(alice):
    """Another page lies above the question, asks for a double click, and closes after the first."""
    link = urlencode({"repo": "https://example.org/x.git", "targetpath": "home/of-others"})
    page = alice.context.new_page()
    answer = page.get_by_role("link", name="Go on")
    page.goto(f"{hub.own(alice.user)}/user/{alice.user}/git-pull?{link}", wait_until="commit")
    answer.wait_for()
    assert page.evaluate("performance.now()") > 1000
    page.evaluate("dispatchEvent(new Event('focus'))")
    assert answer.count() == 0
    began = page.evaluate("performance.now()")
    answer.wait_for()
    assert page.evaluate("performance.now()") > began + 900
    page.close()


@pytest.mark.parametrize(
    "change",
    [
        {"repo": '"><script>document.title = "it runs"</script>'},
        {"urlpath": "<script>document.title = 'it runs'</script>"},
        {"repo": "javascript://example.org/"},
        {"targetpath": "home/.ssh"},
        {"targetpath": "home/.local/share/jupyter/kernels", "backup": "true"},
        {"targetpath": "/tmp/x"},
    ],
    ids=["markup", "markup in the path", "script", "hidden", "kernels", "elsewhere"],
)
def test_a_link_with_markup_or_to_hidden_files_is_refused(alice, triton, change):
    """Nobody is asked. The page of nbgitpuller would be the user's own, with a script in it."""
    fields = {"repo": "https://example.org/x.git", "targetpath": "home/x"} | change
    page = alice.context.new_page()
    answer = page.goto(f"{hub.own(alice.user)}/user/{alice.user}/git-pull?{urlencode(fields)}")
    assert answer.status == 400 and "It does nothing." in page.inner_text("body")
    assert page.title() != "it runs"
    page.close()


@pytest.mark.claims(
    "A link may have your server copy a repository, or open a notebook in a folder of somebody "
    "else. What is in there runs as you,"
)
@pytest.mark.parametrize("look", ["lab/tree", "lab/workspaces/x/tree", "doc/tree", "notebooks"])
def test_a_link_into_anothers_folder_starts_no_kernel(alice, kernels, triton, look):
    """A kernel would run what its owner has put there. A link to one's own notebook opens it."""
    other, before = triton.account(), kernels()
    triton.run("login", "chmod 755 $WRKDIR", other)
    triton.write("login", "$WRKDIR/of-others.ipynb", notebook(["1"]), other)
    alice.user.write("~/of-mine.ipynb", notebook(["1"]))
    base = f"{hub.own(alice.user)}/user/{alice.user}/{look}"
    page = alice.context.new_page()
    there = triton.run("login", "echo $WRKDIR", other).stdout.strip()
    path = there.replace(FACTS.paths.scratch, "scratch")
    triton.run("login", "mkdir -p of-a-group && chmod 775 of-a-group", alice.user)
    for way in (path, f"home%2F..%2F{path}", "home/of-a-group"):
        asks(page, f"{base}/{way}/of-others.ipynb", "A link wants to open")
    asks(page, f"{base}/{path}/of-others.ipynb", "A link wants to open")
    assert kernels() == before
    if look != "lab/tree":  # what these pages do after they have come is the same
        page.route("**/*.js*", lambda route: route.abort())
    with page.expect_response(lambda answer: answer.request.is_navigation_request()) as asked:
        page.get_by_role("link", name="Go on").click()
    assert asked.value.status == 200 and "A link wants" not in asked.value.text()
    if look == "lab/tree":
        page.locator(".jp-Notebook").first.wait_for()
    answer = page.goto(f"{base}/home/of-mine.ipynb", wait_until="commit")
    assert answer.status == 200 and "A link wants" not in answer.text()
    page.close()


TAKES = """import contextlib, socket
from jupyterhub.utils import random_port
from tornado.netutil import bind_sockets
port = random_port()
with socket.socket() as other, contextlib.suppress(OSError):
    other.bind(("", port))
    print("somebody else has it")
print(len(bind_sockets(port, "0.0.0.0")))
"""


def test_nobody_takes_the_port_that_the_hub_was_told(triton, services):
    """Of sixty servers that started at once, one found another at its port."""
    look = "sys.path.insert(0, '/etc/jupyterhub'); import profile_spawner as p; print(p.FAST_START)"
    start = triton.run("hub", ["/opt/jupyterhub/bin/python", "-c", f"import sys; {look}"]).stdout
    triton.write("c1", "/tmp/takes.py", TAKES)
    command = shlex.join([f"{FACTS.paths.jupyter_env}/bin/python", "-c", start, "/tmp/takes.py"])
    planted = "cd $(mktemp -d); for name in contextlib runpy socket types; do "
    planted += "echo 'print(\"a file of others\")' > $name.py; done; "  # the current folder's
    assert triton.run("c1", planted + command).stdout == "1\n"


@pytest.mark.claims(
    "When you open a notebook of somebody else and save it, no file is written but that notebook, "
    "and the text beside it if the two are a pair."
)
def test_to_save_a_notebook_of_others_writes_no_other_file(alice, triton):
    """IPython would run it at each start, or Python would take it for a module."""
    startup = ".ipython/profile_default/startup"
    triton.run("login", f"mkdir -p got mine {startup}", alice.user)
    content = json.loads(notebook(["1"]))
    for formats in (f"ipynb,../{startup}//py", "ipynb,../mine//py", "-page.ipynb,py"):
        content["metadata"]["jupytext"] = {"formats": formats}
        model = {"type": "notebook", "format": "json", "content": content}
        answer = alice.ask("PUT", "/api/contents/home/got/a-page.ipynb", model)
        assert "Jupytext would also write" in answer.text, formats
    look = f"find got mine {startup} -name 'a*.*' -printf '%f '"
    assert triton.run("login", look, alice.user).stdout == ""
    content["metadata"]["jupytext"] = {"formats": "ipynb,md:myst"}
    alice.ask("PUT", "/api/contents/home/got/a-page.ipynb", model).json()
    written = set(triton.run("login", look, alice.user).stdout.split())
    assert {"a-page.ipynb", "a-page.md"} <= written


@pytest.mark.claims("To open a file of somebody else, or to save it, writes into no other place,")
def test_a_link_of_others_leads_no_file_elsewhere(alice, triton):
    """JupyterLab copies each file that it opens. IPython would run what lies in one folder."""
    other, startup = triton.account(), ".ipython/profile_default/startup"
    there = f"{FACTS.paths.work}/{other}"
    home = f"/home/{alice.user}"
    alice.user.run(f"mkdir -p {startup} clone; touch .kept; cd clone; echo 1 > a.py")
    alice.user.run(f"cd clone; ln -s ../{startup} .ipynb_checkpoints")  # a repository may have it
    other.run(
        f"cd {there}; chmod 755 .; mkdir closed; mkdir -m 777 open; cd open; "
        f"ln -s {home}/{startup} .ipynb_checkpoints; ln -s {home}/.kept kept.py; "
        f"ln -s {home}/{startup}/b.py .~a.py; echo 1 | tee a.py ../closed/a.py; "
        "chmod 666 a.py ../closed/a.py"
    )
    node = alice.user.run("squeue --me --noheader --format=%N").strip()
    below_tmp = f"/tmp/jupyter_checkpoints/scratch/work/{other}"
    other.run(
        f"mkdir -p {below_tmp}; ln -s {home}/{startup} {below_tmp}/closed; "
        "chmod -R 777 /tmp/jupyter_checkpoints",
        host=node,
    )
    model = {"type": "file", "format": "text", "content": "2"}
    path = there.replace(FACTS.paths.scratch, "scratch")
    for file in (f"{path}/closed/a.py", f"{path}/open/a.py", "home/clone/a.py"):
        address = f"/api/contents/{file}"
        kept = alice.ask("POST", f"{address}/checkpoints").json()
        assert alice.ask("PUT", address, model).json()["size"] == 1
        assert alice.ask("POST", f"{address}/checkpoints/{kept['id']}").status == 204
        assert alice.ask("GET", f"{address}?type=file").json()["content"] == "1\n"
    answer = alice.ask("PUT", f"/api/contents/{path}/open/kept.py", model)
    assert "is a link that somebody else has made" in answer.text
    assert alice.user.run(f"cat .kept; find {startup} -name '*.py'") == ""


def test_a_link_of_a_repository_leads_no_file_elsewhere(alice):
    """Its links belong to the user who copies it, and its files are those of somebody else."""
    content = json.loads(notebook(["1"]))
    content["metadata"]["jupytext"] = {"formats": "ipynb,py"}
    alice.user.run(
        "mkdir -p linked/.ipynb_checkpoints; touch .kept.py .second.py; cd linked; "
        "echo 1 | tee a.py .ipynb_checkpoints/b-checkpoint.py; ln -s ../.second.py .~a.py; "
        "ln -s ../.kept.py b.py; ln -s ../.kept.py c.py; cat > c.ipynb",
        input=json.dumps(content),
    )
    place, text = "/api/contents/home/linked", {"type": "file", "format": "text", "content": "2"}
    assert alice.ask("PUT", f"{place}/a.py", text).json()["size"] == 1
    answer = alice.ask("POST", f"{place}/b.py/checkpoints/checkpoint")
    assert "is a link" in answer.text
    model = {"type": "notebook", "format": "json", "content": content}
    answer = alice.ask("PUT", f"{place}/c.ipynb", model)
    assert "Jupytext would also write" in answer.text
    assert alice.user.run("cat .kept.py .second.py linked/a.py") == "2"


def test_copies_of_files_are_where_nobody_else_writes(alice):
    """The folder of the copies may have come with other rights than the folder of the files."""
    alice.user.run(
        "mkdir -p once/.ipynb_checkpoints twice; echo 1 | tee once/a.py twice/a.py; "
        "chmod 777 once/.ipynb_checkpoints; setfacl --default --modify g::rwx,o::rwx,m::rwx twice"
    )
    for folder in ("once", "twice"):
        answer = alice.ask("POST", f"/api/contents/home/{folder}/a.py/checkpoints")
        assert answer.status == 201
    look = "find once twice -path '*_checkpoints*' -perm /022 -printf '%f '; ls once/.ipynb_*"
    assert alice.user.run(look) == ".ipynb_checkpoints "


def test_a_script_in_a_file_learns_no_token(alice, triton):
    """JupyterLab writes the token into the address. With it, the script could answer for the user
    whether a link may copy a repository.
    """
    page = "<script>document.title = 'asked for ' + location.search</script>"
    triton.write("login", "~/page.html", page, alice.user)
    tab = alice.context.new_page()
    base = f"{hub.own(alice.user)}/user/{alice.user}"
    tab.goto(f"{base}/tree")
    [token] = [
        each["value"] for each in alice.context.cookies(f"{base}/") if each["name"] == "_xsrf"
    ]
    tab.goto(f"{base}/files/home/page.html?a=1&_xsrf={token}")
    tab.wait_for_function("document.title.startsWith('asked for')")
    assert tab.title() == "asked for ?a=1"
    tab.close()


def test_secrets_are_for_the_hub_only(triton):
    files = "$(find /var/lib/jupyterhub -type f ! -name '*.crt')"
    look = f"stat --format='%a %U %n' /var/lib/jupyterhub /etc/jupyterhub/tls/key.pem {files}"
    listed = triton.run("hub", look).stdout.splitlines()
    assert len(listed) >= 5 and [line for line in listed if line.endswith("-ca.key")]
    for line in listed:
        mode, user, name = line.split()
        assert user == "jupyterhub" and mode in ("700", "600", "400"), name
    look = f"curl --silent --max-time 5 http://{FACTS.hosts.hub}:8001/api/routes"
    refused = triton.run("login", look, check=False)
    assert refused.returncode == 7, "the proxy takes orders from its own host only"


@pytest.mark.parametrize("byte", ["240", "205"])
def test_no_cookie_of_another_page_takes_the_place_of_a_login(alice, visit, triton, byte):
    """A page of a user may set cookies for all names below the hub's. A browser lets it set none of
    a login, by the prefix of its name; but some bytes in front of it are a part of the name for the
    browser, and spaces for Python.
    """
    other = visit()
    other.log_in()
    other.page.get_by_role("button", name="Start", exact=True).wait_for()

    def value(window, name):
        cookies = window.context.cookies([HUB, hub.own(window.user)])
        return next(each["value"] for each in cookies if each["name"] == name)

    def asks(name, second, address):
        first = shlex.quote(f"Cookie: {name}={value(alice, name)}; ")
        header = f"{first}$'\\{byte}'{shlex.quote(f'{name}={second}')}"
        curl = "curl --silent --http1.1 --max-time 5"
        return triton.run("laptop", f"{curl} --header {header} {address}", check=False).stdout

    name = "__Host-jupyterhub-hub-login"
    page = asks(name, value(other, name), f"{HUB}/hub/home")
    assert alice.user in page and other.user not in page, "it is another login"
    status = "--output /dev/null --write-out '%{http_code}'"
    words = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    words += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-Fetch-Mode: websocket"]
    options = shlex.join(word for each in words for word in ("--header", each))
    base = f"{hub.own(alice.user)}/user/{alice.user}"
    name = f"__Host-jupyterhub-user-{alice.user}"
    answer = asks(name, "none", f"{status} {options} {base}/api/events/subscribe")
    assert answer == "101", "it locks out of the own server"


@pytest.mark.parametrize("number, status", [(180, "200"), (7000, "302")])
def test_the_hub_is_sent_no_more_cookies_than_a_browser_keeps(alice, triton, number, status):
    """It takes some time to look at each of that name, and does nothing else."""
    name = "__Host-jupyterhub-hub-login"
    cookies = alice.context.cookies(HUB)
    login = next(each["value"] for each in cookies if each["name"] == name)
    triton.write("laptop", "/tmp/many", f"Cookie: {'_xsrf=a;' * number} {name}={login}\n")
    look = "curl --silent --output /dev/null --write-out '%{http_code}' --header @/tmp/many"
    assert triton.run("laptop", f"{look} {HUB}/hub/home").stdout == status


@pytest.mark.claims("No server's answer removes the cookies of the site,")
def test_no_server_removes_the_cookies_of_the_site(alice):
    """A browser would remove those of the hub, too, and all of its domain."""
    assert alice.ask("GET", "/api/status").headers["x-own"] == "sent"
    names = [cookie["name"] for cookie in alice.context.cookies(HUB)]
    assert "__Host-jupyterhub-hub-login" in names
    assert alice.ask("GET", "/home", base="/hub").status == 200


@pytest.mark.claims("only the hub makes a session.")
def test_a_session_that_is_not_the_hubs_is_forgotten(triton):
    """With a long one, which the page of a user can set, _xsrf would be too long for a browser."""
    look = "curl --silent --output /dev/null --dump-header -"
    header = f"Cookie: jupyterhub-session-id={'a' * 3500}"
    lines = triton.run("laptop", f"{look} --header '{header}' {HUB}/hub/login").stdout.splitlines()
    made = [line for line in lines if re.match("set-cookie: [^=]*_xsrf=", line, re.IGNORECASE)]
    assert made and len(max(made, key=len)) < 4096


@pytest.mark.claims("The cookie of the login goes to the hub alone.")
def test_cookies_are_secure_and_pages_have_a_policy(alice):
    cookies = alice.context.cookies()
    login = [cookie for cookie in cookies if "jupyterhub-hub-login" in cookie["name"]]
    assert [(cookie["name"][:7], cookie["domain"], cookie["path"]) for cookie in login] == [
        ("__Host-", FACTS.hosts.hub, "/")
    ]
    for cookie in cookies:
        assert cookie["secure"] and cookie["sameSite"] == "Lax", cookie["name"]
        assert cookie["httpOnly"] or cookie["name"].endswith("_xsrf"), cookie["name"]
    answers = []
    # playwright does not accept a method of a list
    alice.page.on("response", lambda answer: answers.append(answer))
    alice.context.clear_cookies()
    alice.log_in()
    alice.page.locator("#jp-main-statusbar").wait_for()
    lines = [
        header["value"]
        for answer in answers
        for header in answer.headers_array()
        if header["name"].lower() == "set-cookie"
    ]
    assert len(lines) >= 4
    for line in lines:  # Without the attribute the browser would use Lax.
        assert re.search("; SameSite=Lax", line, re.IGNORECASE) or '=""' in line, line
    headers = alice.ask("GET", "/home", base="/hub").headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'self'" in policy, policy
    assert f"form-action 'self' {hub.SERVERS};" in policy, (
        "the form of the login may not lead on to the user's server"
    )
    assert not re.search(r"\*|https?:|unsafe-eval", policy.replace(hub.SERVERS, "")), policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "max-age=" in headers["strict-transport-security"]


def test_no_token_stands_in_a_log(alice, server, kernel, triton):
    """The hub and the server log as much as they can."""
    key = "import os; print(open(os.environ['JUPYTERHUB_SSL_KEYFILE']).read().splitlines()[1])"
    secrets = [
        server.token,
        kernel.prints("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])"),
        kernel.prints(key),
        triton.run("hub", "cat /var/lib/jupyterhub/proxy_token").stdout.strip(),
        triton.password(alice.user),
        *(
            cookie["value"]
            for cookie in alice.context.cookies()
            if cookie["name"].startswith(("__Host-jupyterhub", "jupyterhub"))
        ),
    ]
    alice.open(f"/user/{alice.user}/lab?token={server.token}")
    texts = {
        f"processes of {host}": triton.run(host, "ps -e -o args").stdout
        for host in ("hub", *triton.nodes)
    }
    texts |= {
        "hub": hub.log(triton),
        "proxy": hub.log(triton, "proxy"),
        "server": alice.user.run(f"cat {LOGS}"),
    }
    assert "[D " in texts["hub"] and "[D " in texts["server"] and len(secrets) >= 8
    for name, text in texts.items():
        assert not [secret for secret in secrets if secret in text], f"a secret is in: {name}"


@pytest.mark.claims("A full disk is named, too, when a running server starts no more kernels,")
def test_a_full_disk_is_the_reason_why_no_kernel_starts(alice, triton):
    """Others have filled it since the server has started."""
    node, job = alice.user.run("squeue --me --noheader --format='%N %i'").split()
    folder = f"/tmp/jupyter-{job}-*/runtime"
    fill = f"mount -t tmpfs -o size=4k,mode=1777 small {folder} && cd {folder} && cat /dev/zero > x"
    try:
        triton.run(node, fill, check=False)
        alice.notebook("full", "1")
        said = alice.lab.dialog(about="is full")
    finally:
        triton.run(node, f"umount {folder}")
    assert f"/tmp of the node {node} is full, so no new kernel starts" in said, said


def test_two_servers_of_one_user_run_at_once_and_on_one_node(alice, server, triton):
    name, first = "second", server.kernel()
    path = f"/users/{alice.user}/servers/{name}"
    look = "import os; print(os.environ['SLURMD_NODENAME'], os.environ['SLURM_JOB_ID'])"
    node, job = first.prints(look).split()
    others = ",".join(other for other in triton.nodes if other != node)
    triton.run("ctl", f"scontrol update nodename={others} state=drain reason=test")
    second = HubServer(alice, name)
    try:
        assert alice.ask("POST", path, {"profile": TINY}, base="/hub/api").status in (201, 202)
        until = time.monotonic() + PATIENCE
        ready = False
        while not ready:
            assert time.monotonic() < until
            known = alice.ask("GET", f"/users/{alice.user}", base="/hub/api").json()["servers"]
            ready = known.get(name, {}).get("ready")
        theirs = second.kernel().prints(look).split()
        assert theirs[0] == node and theirs[1] != job and first.prints(look).split() == [node, job]
    finally:
        triton.run("ctl", f"scontrol update nodename={others} state=resume")
        assert alice.ask("DELETE", path, base="/hub/api").status in (202, 204)
        second.close()


@pytest.mark.parametrize(
    "name", ["$(touch pwned)", "a; touch pwned", "'", "a\n#SBATCH --uid=0", "`id`"]
)
def test_a_server_is_not_named_like_a_command(alice, name):
    answer = alice.ask(
        "POST", f"/users/{alice.user}/servers/{quote(name)}", {"profile": TINY}, base="/hub/api"
    )
    assert answer.status == 400 and "Invalid server_name" in answer.text


# The configuration of a server that sends the hub its port, other fields, and wrong ports.
TELL = (DATA / "tell.py").read_text(encoding="utf-8")
TELLS = f"""{TELL}
import pathlib
told = [tell(data) for data in (
    {{'port': port, 'note': 'x'}}, {{'note': 'x'}}, {{'port': str(port)}},
    {{'port': 80}}, [port], {{'port': port}},
)]
pathlib.Path('~/told').expanduser().write_text(json.dumps(told))
"""


def test_a_server_that_starts_tells_the_hub_its_port_only(visit, triton, kernel):
    """The hub refuses everything else that a server sends."""
    window = visit()
    window.user.run("mkdir .jupyter")
    window.user.write("~/.jupyter/jupyter_server_config.py", TELLS)
    window.begin(TINY)
    window.page.wait_for_url("**/spawn-pending/**")
    assert window.ask("POST", "/batchspawner", {"port": 8888}, base="/hub/api").status == 403, (
        "a user who is no server can send a port"
    )
    window.page.wait_for_url("**/user/**", wait_until="commit")
    assert json.loads(window.user.run("cat told")) == [400] * 5 + [201]
    said = f"Refused from the server of {window.user}: fields ['note', 'port']"
    refused = [line for line in hub.log(triton).splitlines() if said in line]
    assert [line[:3] for line in refused] == ["[W "], "it is in no log of the usual level"
    late = kernel.prints(TELL + "print(tell({'port': 8888}))")
    assert late == "400", "a running server can send a port"
    window.user.run("scancel --me")


# ---------------------------------------------------------------- the FAQ


@pytest.mark.claims(
    "The text after the colon is Slurm's own reason: it cannot give what the profile asks for.",
    "Choose another profile,",
)
@pytest.mark.proves("faq-500")
def test_what_slurm_refuses_is_told_in_its_words(visit, entry):
    window = visit()
    window.log_in()
    window.choose("Too much")
    window.press_start()
    entry.shows(window.waits_for("Requested node configuration is not available"))
    window.choose(TINY)
    window.press_start()
    window.page.wait_for_url("**/user/**", wait_until="commit")
    window.user.run("scancel --me")


@pytest.mark.claims(
    "The end of the newest one:",
    "Look in your home directory, for ``{{ logs.pattern }}``:",
)
@pytest.mark.proves("faq-log")
def test_the_newest_log_is_the_first_that_the_page_lists(alice, triton, entry):
    [command] = entry.commands()
    listed = alice.user.run(command).split()
    newest = LOGS.replace("*", alice.job()).replace("~", f"{FACTS.paths.home}/{alice.user}")
    assert listed[0] == newest
    page = "triton/apps/jupyter/hub.rst"
    commands = [command for block in pages.blocks(page) for command in block.commands]
    [shown] = [command for command in commands if command.text.endswith("tail")]
    # another line may come between the two
    look = (
        f"for i in $(seq 20); do tail {newest} | cmp --silent - <({shown.text}) && echo same "
        "&& break; sleep 0.2; done"
    )
    same = alice.user.tries(look).stdout
    assert same == "same\n", f"{page}:{shown.line}: not the end of the newest log"


# ---------------------------------------------------------------- the course

# MyST syntax, a placeholder, or Markdown that was not rendered.
RAW = re.compile(r"\{[\w-]+\}`|^:::|```|\{\{|\]\(|\+\+\+|\*\*", re.MULTILINE)


def test_each_notebook_of_the_student_zip_opens_cleanly(alice, triton):
    """JupyterLab shows nothing raw or broken."""
    course = editions.load()
    files = editions.student_files(course, FACTS.site.url, FACTS.in_words())
    packed = base64.b64encode(editions.zipped(files)).decode()
    # JupyterLab draws all cells of a notebook, not only the visible ones.
    whole = "~/.jupyter/lab/user-settings/@jupyterlab/notebook-extension"
    alice.user.run(f"mkdir -p {whole}")
    alice.user.write(f"{whole}/tracker.jupyterlab-settings", '{"windowingMode": "none"}')
    unpack = "base64 -d > ~/student.zip && python3 -m zipfile -e ~/student.zip ~"
    alice.user.run(unpack, input=packed)
    alice.page.set_viewport_size({"width": 1280, "height": 900})
    alice.open(
        f"/user/{alice.user}/lab/tree/home/{editions.FOLDER}/{next(iter(course))}.ipynb?reset"
    )
    for name, content in course.items():
        alice.page.locator(".jp-DirListing-item", has_text=name).dblclick()
        alice.page.locator(
            "#jp-main-dock-panel .lm-TabBar-tab.lm-mod-current", has_text=name
        ).wait_for()  # the notebook before has the same text below
        panel = alice.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        panel.locator("em", has_text="Afterwards you can").wait_for()
        student = editions.student(content, FACTS.site.url)["cells"]
        rendered = panel.locator(".jp-RenderedMarkdown")
        rendered.nth(sum(cell["cell_type"] == "markdown" for cell in student) - 1).wait_for()
        text = "\n".join(rendered.all_inner_texts())
        assert len(text) > 1000 and RAW.findall(text) == [], name
        panel.locator(
            ".jp-Toolbar-kernelName", has_text=content["metadata"]["kernelspec"]["display_name"]
        ).wait_for()
        assert alice.page.locator(".jp-Dialog").all_inner_texts() == []
    alice.page.locator(".jp-DirListing-item", has_text="README").dblclick()
    alice.page.frame_locator("iframe.jp-HTMLViewer, .jp-HTMLViewer iframe").get_by_role(
        "heading", name="the course"
    ).wait_for()
    raw = alice.user.run(f"find ~/{editions.FOLDER} -name '*.md'")
    assert not raw, "JupyterLab would open it as raw text"


@pytest.mark.claims(
    "under the title of each notebook, brings the student edition into a home directory, and "
    "opens it. It comes from the branch ``student`` of the guide's repository,",
    "Those who open it again get what is new, and keep what they wrote.",
)
def test_open_on_the_cluster_keeps_what_was_written(visit, triton, site, tmp_path):
    """It copies the student edition, with the changes since the last copy."""
    name, tells, repository = "02-hidden-state", "Read me first.", tmp_path / "student.git"
    files = editions.student_files(editions.load(), FACTS.site.url, FACTS.in_words())

    def push(files):
        """Run `make class` and return its output; afterwards the branch is in the guide's
        repository.
        """
        new = repository.with_suffix(".new")
        editions.repository(new, files, [(repository, editions.BRANCH)])
        shutil.rmtree(repository, ignore_errors=True)
        new.rename(repository)
        bundle = subprocess.run(
            ["git", "-C", repository, "bundle", "create", "--quiet", "-", editions.BRANCH],
            capture_output=True,
            check=True,
        ).stdout
        triton.run(
            "login",
            "base64 -d > /tmp/student && git -C /srv/git/guide.git fetch --quiet "
            f"/tmp/student {editions.BRANCH}:{editions.BRANCH}",
            input=base64.b64encode(bundle).decode(),
        )

    def press():
        page = (site / f"notebooks/{name}.html").read_text(encoding="utf-8")
        [address] = re.findall(r'href="(https://[^"]*/git-pull[^"]*)"', page)
        window.page.goto(html.unescape(address))
        window.page.locator(".jp-Notebook .jp-Cell", has_text="Exercise 1").first.wait_for()

    push(files)
    window = visit()
    window.start(TINY)
    press()
    folder = f"~/{editions.FOLDER}"
    assert window.user.run(f"cat {folder}/{name}.ipynb") == files[f"{name}.ipynb"]
    window.user.run(
        f"sed -i 's/week = hours/mine = hours/' {folder}/{name}.ipynb; echo mine > "
        f"{folder}/notes.txt"
    )
    push(files | {"README.html": tells})
    press()
    output = window.user.run(
        f"cat {folder}/README.html {folder}/notes.txt; grep -c 'mine = hours' {folder}/{name}.ipynb"
    )
    assert output.split("\n") == [f"{tells}mine", "1", ""]
    window.user.run("scancel --me")
