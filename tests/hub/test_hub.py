"""JupyterHub, as triton/jupyterhub configures it, does what the guide says. The tests use a
reader's browser. test_hub_ends.py tests how servers end.
"""

import base64
import html
import json
import re
import shlex
import shutil
import subprocess
import time
from urllib.parse import quote, urlencode

import pytest

from tools import pages
from tools.browser import needs_chromium
from tools.cluster import cluster, hub
from tools.cluster.hub import HUB, LOGS, PROFILES, TINY, HubServer, Lab, Visit, notebook
from tools.cluster.jupyter_server import CENTRAL, PATIENCE, wait_until
from tools.course import editions
from tools.files import ROOT

DATA = ROOT / "tests/data/hub"
FACTS = cluster.facts()
BIG = next(
    profile.name for profile in FACTS.profiles if profile.kill_gb == 80
)  # more memory than is free beside jobs with 55 GB
SJUPYTER = (
    # this entry is about JupyterLab without the hub: see test_faq.py
    "triton/apps/jupyter/sjupyter.rst"
)
pytestmark = [needs_chromium, pytest.mark.usefixtures("services")]


@pytest.fixture(scope="module")
def alice(triton, chromium):
    """A window of a user whose server runs and logs as much as it can. The home directory had old
    logs before, and two old files that are no logs.
    """
    window = Visit(triton, triton.account(), chromium)
    triton.run(
        "login",
        "mkdir .jupyter; echo 'c.Application.log_level = 10' > .jupyter/jupyter_server_config.py",
        window.user,
    )
    aged = {
        LOGS.replace("*", "100001"): 169,
        LOGS.replace("*", "100002"): 167,
        "mine.log": 169,
        LOGS.replace("*", "100003").replace("~", "kept"): 169,
    }
    for name, hours in aged.items():
        triton.run("login", f"mkdir -p kept; touch --date '{hours} hours ago' {name}", window.user)
    window.start(PROFILES[0])
    yield window
    triton.run("login", "scancel --me", window.user, check=False)
    window.close()


@pytest.fixture(scope="module")
def server(alice):
    running = HubServer(alice)
    yield running
    running.close()


@pytest.fixture(scope="module")
def kernel(server):
    return server.kernel()


def as_hub(triton, command, **options):
    return triton.run(
        "hub",
        "cd /; setpriv --reuid jupyterhub --regid jupyterhub --init-groups env "
        f"HOME=/var/lib/jupyterhub {command}",
        **options,
    )


# ---------------------------------------------------------------- start


@pytest.mark.claims(
    ":columns: name = Profile time = Runs for memory = Memory kill = Killed above idle = "
    "When unused"
)
def test_the_start_page_has_the_profiles_of_the_guide(visit):
    """The profiles are those of the guide's table, in the same order."""
    window = visit()
    window.log_in()
    # the notice is below the table
    window.page.get_by_role("button", name="Start", exact=True).wait_for()
    rows = window.page.locator("table tbody tr").all()
    shown = [[cell.inner_text().strip() for cell in row.locator("th, td").all()] for row in rows][
        : len(PROFILES)
    ]
    headings = re.findall(
        r"^ +(?::columns: )?\w+ = (.+)$", pages.read("triton/apps/jupyter/hub.rst"), re.MULTILINE
    )
    assert window.page.locator("table thead th").all_inner_texts() == headings, (
        "triton/apps/jupyter/hub.rst"
    )
    assert shown == [
        [profile.in_words()[key] for key in ("name", "time", "memory", "kill", "idle")]
        for profile in FACTS.profiles
    ]
    assert "that no page shows is stopped after that time" in window.said(), (
        "the start page has no notice about unused servers"
    )


@pytest.mark.claims(
    "Log in with your user name and password of {{ cluster.university }}: fill them in, "
    "press :guilabel:`Sign in`. You need an "
    "account on {{ cluster.name }}."
)
def test_a_wrong_password_or_an_expired_account_is_refused(visit, triton):
    window = visit()
    window.log_in("wrong")
    window.waits_for("Invalid username or password")
    stranger = visit("stranger")
    stranger.log_in("secret")
    stranger.waits_for("Invalid username or password")
    triton.run("hub", f"usermod --expiredate 1 {window.user}")
    window.log_in()
    window.waits_for("Invalid username or password")


def take_much_memory(triton):
    """Fill all nodes with jobs that take much memory, so that a BIG server has no room; return the
    number of jobs.
    """
    jobs = triton.run(
        "login",
        f"sbatch --parsable --array=1-{2 * len(triton.nodes)} --mem=55G --time=2 "
        "--output=/dev/null --wrap='sleep 120'",
    ).stdout.strip()
    triton.run(
        "login",
        f"for i in $(seq 300); do squeue --noheader --array --jobs={jobs} --format=%T | "
        "grep -q PENDING || exit 0; sleep 0.2; done; exit 1",
    )
    return jobs


@pytest.mark.claims(
    "Your server is a job in the Slurm queue, so the first start takes a few seconds, "
    "and longer when the cluster is full.",
    "The page says ``Pending in queue...``, with Slurm's reason, then ``Cluster job "
    "running... waiting to connect``.",
    "JupyterLab opens.",
    "To see from a terminal what your server waits for:",
    "Open https://{{ hosts.hub }}, log in, choose a profile, and you have Jupyter on {{ "
    "cluster.name }}.",
    "a web service that takes your login and starts your own Jupyter server on {{ "
    "cluster.name }}, at https://{{ hosts.hub }}.",
    "A page with a bar that is a fifth full. Below it:",
)
@pytest.mark.claims(
    "Your server is a job. Pending, it waits for a free place like any other. Waiting to "
    "connect, it runs but does not answer yet:",
    "``Resources`` and ``Priority`` mean that the cluster is busy. Wait, or stop it and "
    "choose a profile with less memory.",
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
        assert "the cluster is busy" in waiting and "width: 20%" in window.page.locator(
            "#progress-bar"
        ).get_attribute("style")
        entry.shows(waiting)
        [look] = entry.commands()
        assert re.search("Resources|Priority", triton.run("login", look, window.user).stdout)
        [shown] = [
            command.text
            for block in pages.blocks("triton/apps/jupyter/hub.rst")
            for command in block.commands
            if command.text.endswith("--start")
        ]
        assert re.search("Resources|Priority", triton.run("login", shown, window.user).stdout), (
            "triton/apps/jupyter/hub.rst"
        )
        addresses = []
        window.page.on("framenavigated", lambda frame: addresses.append(frame.url))
        window.page.get_by_role("button", name="Stop Server").click()
        triton.run("login", f"scancel {others}")
        window.page.get_by_role("button", name=re.compile("aunch Server")).click()
        assert not [address for address in addresses if "/user/" in address], (
            "the page leads to a server that does not exist"
        )
        window.choose(TINY)
        window.press_start()
        messages, _ = window.arrive()
    finally:
        triton.run("login", f"scancel {others}")
    entry.shows(messages, 1)
    assert not re.search(hub.PENDING.pattern, messages.partition(entry.messages[1])[2]), (
        "the messages come in the wrong order"
    )
    triton.write(
        "login",
        "~/first.ipynb",
        notebook(["import os, socket; print(socket.gethostname(), os.environ['SLURM_JOB_ID'])"]),
        window.user,
    )
    lab = Lab(window.page)
    window.open(f"/user/{window.user}/lab/tree/home/first.ipynb")
    lab.run_cell()
    node, job = lab.output().split()
    assert node.split(".")[0] in triton.nodes and job == window.job()
    triton.run("login", "scancel --me", window.user)


@pytest.mark.claims(
    "That is why a profile has two numbers. Slurm knows the second alone: it is what "
    "``squeue`` and ``sacct`` show as the "
    "memory of your server,",
    "``interactive`` is where ``sjupyter``, ``class-check`` and the hub start their jobs.",
)
def test_squeue_and_sacct_show_the_second_number_of_a_profile(alice, triton):
    """Slurm ends the server at the second number. Only the administrators know the first."""
    first = FACTS.profiles[0]
    shown = triton.run(
        "login",
        f"squeue --noheader --jobs={alice.job()} --format='%P %m'; sacct --noheader "
        f"--allocations --parsable2 --jobs={alice.job()} --format=ReqMem",
        alice.user,
    )
    memory = f"{first.kill_gb}G"
    assert shown.stdout.split() == [FACTS.partitions.interactive, memory, memory]
    assert first.memory_gb != first.kill_gb


@pytest.mark.claims("The next start removes those that are {{ logs.keep }} old.")
@pytest.mark.claims(
    "Every server of the hub writes one. Those that are {{ logs.keep }} old are removed "
    "at the next start."
)
def test_logs_older_than_a_week_are_removed(alice, triton):
    """Younger logs stay."""
    left = triton.run("login", f"ls {LOGS}", alice.user).stdout
    assert [
        number
        for number in ("100001", "100002", alice.job())
        if LOGS.partition("/")[2].replace("*", number) in left
    ] == ["100002", alice.job()]
    assert triton.run("login", "ls mine.log kept", alice.user).stdout.split()[0::2] == [
        "mine.log",
        LOGS.partition("/")[2].replace("*", "100003"),
    ]


def test_the_log_is_readable_by_its_owner_only(alice, kernel, triton):
    """The user's own files have the permissions that a shell gives them."""
    name = LOGS.replace("*", alice.job())
    assert triton.run("login", f"stat --format='%a %U' {name}", alice.user).stdout.split() == [
        "600",
        alice.user,
    ]
    triton.run("login", "rm -f ~/shell; touch ~/shell", alice.user)
    kernel.prints("import pathlib; (pathlib.Path.home() / 'cell').touch()")
    assert (
        len(set(triton.run("login", "stat --format=%a cell shell", alice.user).stdout.split())) == 1
    )


@pytest.mark.claims(
    "You begin in a convenience directory with links to ``home``, ``scratch`` and the "
    "other places. It is read-only: go "
    "into one of the links before you make a notebook, which is saved where you make it.",
    "You begin in a directory with links to ``home`` and ``scratch``.",
)
def test_it_begins_in_a_read_only_folder_with_links(server, alice, triton):
    """The links lead to the filesystems."""
    listed = server.talk("ask", "/api/contents")["content"]
    assert {"home", "scratch", "work"} == {entry["name"] for entry in listed}
    for name, folder in (
        ("home", "~"),
        ("scratch", FACTS.paths.scratch),
        ("work", "$WRKDIR"),
    ):
        there = triton.run(
            "login", f"[ {name} = scratch ] || mkdir -p {folder}/in-{name}; ls {folder}", alice.user
        ).stdout.split()
        assert (
            {entry["name"] for entry in server.talk("ask", f"/api/contents/{name}")["content"]}
            == set(there)
            != set()
        ), name
    with pytest.raises(AssertionError, match="HTTP Error"):
        server.talk("ask", "/api/contents", {"type": "notebook"})
    made = server.talk("ask", "/api/contents/home", {"type": "notebook"})
    assert triton.run("login", f"ls ~/{made['name']}", alice.user).returncode == 0


@pytest.mark.claims(
    "You are your own user on {{ cluster.name }}, so every filesystem of the cluster is "
    "there (``project`` and ``archive`` "
    "are not), and all its software."
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
    assert (
        inside.split() == triton.run("login", look, alice.user).stdout.split()
        and FACTS.modules.demo in inside
    )


@pytest.mark.claims(
    "JupyterLab is the default. For the classic look, put ``/tree`` in place of ``/lab`` "
    "into the address."
)
def test_the_classic_look_is_at_tree(alice):
    alice.open(f"/user/{alice.user}/")
    alice.page.locator(".jp-LauncherCard").first.wait_for()
    assert alice.page.url.count("/lab") == 1, "the server does not open JupyterLab first"
    alice.page.goto(alice.page.url.replace("/lab", "/tree").partition("?")[0])
    alice.page.get_by_text("Running").first.wait_for()
    alice.page.get_by_text("scratch").first.wait_for()


@pytest.mark.parametrize(
    ("name", "code", "answer"),
    [
        ("python3", "print(6 * 7)", "42"),
        ("bash", "echo $((6 * 7))", "42"),
        ("ir", "cat(6 * 7)", "42"),
    ],
)
def test_each_kernel_runs(server, name, code, answer):
    assert server.kernel(name).prints(code) == answer


@pytest.mark.claims(":doc:`Kernels you can <kernels>` install yourself.")
def test_a_kernel_of_ones_own_runs(server, alice, triton):
    folder = f"{FACTS.paths.user_kernels}/own"
    triton.run("login", f"mkdir -p {folder}", alice.user)
    triton.write(
        "login",
        f"{folder}/kernel.json",
        pages.read("triton/apps/jupyter/demo-kernel.json"),
        alice.user,
    )
    assert server.kernel("own").prints("print(6 * 7)") == "42"


def test_a_kernel_that_loads_a_module_first_runs(server, alice, kernel, triton):
    modules = FACTS.modules
    assert kernel.prints("import shutil; print(shutil.which('jupyter'))") == f"{CENTRAL}/jupyter", (
        "the server has not its own modules"
    )
    make = (
        f"module load {modules.jupyter}; envkernel lmod --user --name=with-module "
        f"{modules.python} {modules.demo}"
    )
    triton.run("login", make, alice.user)
    modules_of_kernel = server.kernel("with-module").prints(
        "import os; print(os.environ['LOADEDMODULES'])"
    )
    assert modules_of_kernel.endswith(modules.demo) and modules.python in modules_of_kernel


# ---------------------------------------------------------------- extensions of JupyterLab


def git(triton, user, command):
    return triton.run("login", f"cd project && {command}", user).stdout.strip()


@pytest.fixture(scope="module")
def project(alice, triton):
    """A repository in the home directory. Its two branches conflict in a notebook, which also has a
    change that is not committed.
    """
    set_up = (
        "git config --global user.name x; git config --global user.email x@example.org; git "
        "init -q -b main"
    )
    triton.run("login", f"mkdir project; cd project; {set_up}", alice.user)
    for text, then in (
        ("one", "git add .; git commit -qm one; git switch -qc other"),
        ("two", "git commit -qam two; git switch -q main"),
        ("three", "git commit -qam three"),
        ("four", "true"),
    ):
        triton.write("login", "~/project/a.ipynb", notebook([f"print('{text}')"]), alice.user)
        git(triton, alice.user, then)
    return Lab(alice.page)


@pytest.mark.claims(
    "nbdime, which shows the difference of two notebooks and merges them. The button "
    "with the sign of git, above a "
    "notebook, shows what has changed since the last commit;"
)
def test_a_button_shows_what_has_changed_since_the_commit(alice, project):
    """The button compares the open notebook with its last commit."""
    alice.open(f"/user/{alice.user}/lab/tree/home/project/a.ipynb?reset")
    button = project.page.get_by_title("Display nbdiff from git HEAD to currently saved version")
    assert button.evaluate(
        "button => Boolean(button.closest('.jp-NotebookPanel-toolbar') && "
        "button.querySelector('.fa-git'))"
    ), "the button is not above the notebook, or has another sign"
    button.click()
    shown = project.page.locator(".nbdime-Widget")
    for text in ("print('three')", "print('four')"):
        shown.get_by_text(text).first.wait_for()


def in_git_tab(alice, lab):
    """Open the Git tab of the project."""
    alice.open(f"/user/{alice.user}/lab/tree/home/project?reset")
    lab.page.locator(".jp-DirListing-item", has_text="a.ipynb").wait_for()
    lab.page.locator(".jp-SideBar [title=Git]").click()


def commits(page, message):
    page.get_by_placeholder("Commit message").fill(message)
    page.get_by_role("button", name="Commit", exact=True).click()
    page.get_by_text(message).nth(0).wait_for()  # the commit is in the history


@pytest.mark.claims("the ``Git`` tab. It commits,")
def test_the_git_tab_commits(alice, project, triton):
    in_git_tab(alice, project)
    changed = project.page.get_by_title("a.ipynb \u2022 Modified")
    changed.hover()
    changed.get_by_title("Stage this change").click()
    commits(project.page, "Say four")
    assert "Say four" in git(
        triton,
        alice.user,
        "for i in $(seq 50); do git log --format=%s -1 | grep four && break; sleep 0.2; "
        "done; git status --short",
    )


@pytest.mark.claims(
    "a double click on a notebook with a conflict lets you choose, change by change;"
)
def test_the_git_tab_merges_notebooks_that_contradict_each_other(alice, project, triton):
    git(
        triton,
        alice.user,
        "git commit -qam four; git merge other >merge.log; git status --short | grep UU",
    )
    in_git_tab(alice, project)
    project.page.get_by_title("a.ipynb \u2022 Conflicted").dblclick()
    project.page.get_by_text("Incoming", exact=True).wait_for()
    project.page.locator(".jp-Merge-gutter-picker", has_text=re.compile(r"\S")).filter(
        visible=True
    ).last.click()
    project.page.get_by_role("button", name="Mark as resolved").click()
    commits(project.page, "Take two")
    assert "Take two" in git(
        triton,
        alice.user,
        "for i in $(seq 50); do git log --merges --format=%s -1 | grep two && break; "
        "sleep 0.2; done",
    )
    cells = json.loads(triton.run("login", "cat project/a.ipynb", alice.user).stdout)["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["print('two')"]


@pytest.mark.claims("``:menuselection:``: tests press the button, and open the menu.")
@pytest.mark.parametrize(
    "place, bar, entry",
    [
        menu
        for page in pages.sources() + pages.notebooks()
        if page != SJUPYTER
        for menu in pages.menus(page)
    ],
)
def test_the_menu_has_what_the_guide_says(alice, triton, place, bar, entry):
    if not alice.page.url.endswith("menus.ipynb"):
        triton.write("login", "~/menus.ipynb", notebook(["1"]), alice.user)
        alice.open(f"/user/{alice.user}/lab/tree/home/menus.ipynb?reset")
        Lab(alice.page).idle()
    assert Lab(alice.page).offers(bar, entry), f"{place}: the menu {bar} has no {entry!r}"


@pytest.mark.claims(
    "Run it, with the button or with ``Control-Enter`` or ``Shift-Enter``. "
    "``Shift-Enter`` goes on to the next cell.",
    "What you ran stays there, with its code, its results and your notes side by side. "
    "With some languages, Python among "
    "them, plots stand in between,",
)
def test_the_button_and_both_keys_run_a_cell(alice, triton):
    """Shift+Enter also selects the next cell."""
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 4]);"
    triton.write("login", "~/keys.ipynb", notebook(["print('one')", plot]), alice.user)
    alice.open(f"/user/{alice.user}/lab/tree/home/keys.ipynb?reset")
    lab, page = Lab(alice.page), alice.page
    lab.idle()
    for number, (press, goes_on) in enumerate(
        [
            (lambda: page.keyboard.press("Control+Enter"), False),
            (lambda: page.keyboard.press("Shift+Enter"), True),
            (
                lambda: page.locator("[data-command='notebook:run-cell-and-select-next']").click(),
                True,
            ),
        ],
        1,
    ):
        lab.cell(0).locator(".cm-content").click()
        press()
        lab.cell(0).locator(".jp-InputPrompt", has_text=f"[{number}]").wait_for()
        assert lab.output().strip() == "one"
        active = page.locator(".jp-Notebook .jp-Cell").evaluate_all(
            "cells => cells.map(cell => cell.classList.contains('jp-mod-active'))"
        )
        assert active.index(True) == goes_on, active
    lab.run_cell(1)
    picture = lab.cell(1).locator(".jp-OutputArea-output img")
    picture.wait_for()
    lab.save()
    wait_until(triton, alice.user, "grep -q image/png keys.ipynb")
    alice.open(f"/user/{alice.user}/lab/tree/home/keys.ipynb?reset")
    picture.wait_for()
    assert lab.output().strip() == "one"


@pytest.mark.claims(
    "a variable inspector, the tab ``Your Variables``, which lists what your kernel holds.",
    "Installed for everyone are:",
)
def test_the_variables_tab_lists_what_the_kernel_holds(alice, triton):
    triton.write("login", "~/held.ipynb", notebook(["answer_of_mine = 6 * 7 * 1001"]), alice.user)
    alice.open(f"/user/{alice.user}/lab/tree/home/held.ipynb?reset")
    Lab(alice.page).run_cell()
    alice.page.locator(".jp-SideBar [title='Your Variables']").click()
    alice.page.get_by_text("answer_of_mine", exact=True).wait_for()
    alice.page.get_by_text("42042").wait_for()


@pytest.mark.claims(
    ":menuselection:`Kernel --> Shut Down Kernel` - that kernel and its variables, and "
    "their memory is free"
)
def test_shut_down_kernel_ends_that_kernel_alone(alice, server, triton):
    triton.write("login", "~/shut.ipynb", notebook(["import os; print(os.getpid())"]), alice.user)
    alice.open(f"/user/{alice.user}/lab/tree/home/shut.ipynb?reset")
    lab, other = Lab(alice.page), server.kernel()
    lab.run_cell()
    ask = f"ps --no-headers -o args= --pid {lab.output().strip()}"
    node = triton.run("login", "squeue --me --noheader --format=%N", alice.user).stdout.strip()
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
    """The setting is two minutes; the test waits one second."""
    settings = "~/.jupyter/lab/user-settings/@jupyterlab/docmanager-extension"
    triton.run(
        "login",
        f"mkdir -p {settings}; echo '{{\"autosaveInterval\": 1}}' > "
        f"{settings}/plugin.jupyterlab-settings",
        alice.user,
    )
    try:
        triton.write("login", "~/unsaved.ipynb", notebook(["1"]), alice.user)
        alice.open(f"/user/{alice.user}/lab/tree/home/unsaved.ipynb?reset")
        Lab(alice.page).idle()
        Lab(alice.page).write("written_and_left = ")
        wait_until(triton, alice.user, "grep -q written_and_left unsaved.ipynb")
    finally:
        triton.run("login", f"rm -r {settings}", alice.user)


@pytest.mark.claims(
    "the modules integration: the ``Software Modules`` tab loads :doc:`modules "
    "</triton/tut/modules>` for kernels that you "
    "start afterwards;"
)
def test_the_modules_tab_loads_a_module_at_a_click(alice, server):
    """Kernels that start afterwards have the module."""
    module, look = (
        FACTS.modules.demo,
        "import os; print(os.environ.get('DEMO_GREETING', 'none'))",
    )
    alice.open(f"/user/{alice.user}/lab?reset")
    alice.page.locator(".jp-SideBar [title='Software Modules']").click()
    offered = alice.page.locator("#module_avail_list li", has_text=module)
    offered.hover()
    offered.get_by_role("button", name="Load").click()
    alice.page.locator("#module_loaded_list li", has_text=module).wait_for()
    try:
        assert server.kernel().prints(look) != "none"
    finally:
        server.talk("ask", "/module", {"modules": [module]}, "DELETE")
    assert server.kernel().prints(look) == "none"


@pytest.mark.claims("In the room, let everybody run ``!class-check`` in a first cell.")
@pytest.mark.claims(
    "There it also says whether the server has the memory of the profile, and whether "
    "WebSockets pass:"
)
def test_in_a_first_cell_class_check_says_what_the_server_has(alice, triton):
    triton.run("login", "mkdir check", alice.user)
    triton.write(
        "login",
        "~/check/check.ipynb",
        notebook(
            [
                "!class-check --profile Long",
                "!JUPYTERHUB_SERVICE_PREFIX=/nowhere/ class-check --profile 'More'",
            ]
        ),
        alice.user,
    )
    alice.open(f"/user/{alice.user}/lab/tree/home/check/check.ipynb?reset")
    lab = Lab(alice.page)
    lab.run_cell()
    lab.cell(0).get_by_text("All is well.").wait_for()
    report = lab.output()
    assert (
        "WRONG" not in report
        and re.search(r"ok +websocket: WebSockets pass", report)
        and re.search(r"ok +memory: .* 8[.]0 GB", report)
    ), report
    lab.run_cell(1)
    lab.cell(1).get_by_text("what to do stands below each").wait_for()
    report = lab.output(1)
    assert "its time is up then" not in alice.said(), (
        "a warning about the end appears days before it"
    )
    assert re.search(r"WRONG +websocket: .* lets no WebSocket through", report) and re.search(
        "WRONG +memory: .* 8[.]0 GB, and .* 25 GB", report
    ), report


@pytest.mark.claims("You cannot install extensions yourself,")
def test_nobody_installs_extensions(server, alice, triton):
    with pytest.raises(AssertionError, match="HTTP Error"):
        server.talk(
            "ask", "/lab/api/extensions", {"cmd": "install", "extension_name": "jupyterlab-git"}
        )
    assert triton.run(
        "login",
        f"touch {FACTS.paths.jupyter_env}/share/jupyter/labextensions/x",
        alice.user,
        check=False,
    ).returncode


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
    for method, path in (
        ("GET", ""),
        ("POST", "/server"),
        ("DELETE", "/server"),
        ("POST", "/tokens"),
    ):
        assert other.ask(method, f"/users/{alice.user}{path}", base="/hub/api").status in (
            403,
            404,
        ), (method, path)
    assert triton.run(
        "login", f"ls {FACTS.paths.home}/{alice.user}", other.user, check=False
    ).returncode
    token = other.ask(
        "POST", f"/users/{other.user}/tokens", {"note": "a test"}, base="/hub/api"
    ).json()["token"]
    node, port = re.findall(
        rf"route /\S*{theirs} -> https://([\w.]+):(\d+)", hub.log(triton, "proxy")
    )[-1]

    def asked(with_token, way):
        look = (
            f"curl --silent --insecure --output /dev/null --write-out '%{{http_code}}' "
            f"--header 'Authorization: token {with_token}' {way}/api/contents"
        )
        return triton.run("login", look, other.user, check=False).stdout

    assert asked(token, f"{hub.own(alice.user)}{theirs}") in ("403", "404")
    assert asked(server.token, f"{hub.own(alice.user)}{theirs}") == "200", (
        "the owner has no access either"
    )
    for scheme in ("http", "https"):
        assert asked(server.token, f"{scheme}://{node}:{port}{theirs}") == "000", (
            "the server answers without the certificate of the proxy"
        )
    listed = triton.run(node.split(".")[0], "ls /tmp", other.user).stdout
    begins = next(name for name in listed.split() if name.startswith(f"jupyter-{alice.job()}-"))
    assert triton.run(node.split(".")[0], f"ls /tmp/{begins}", other.user, check=False).returncode


def test_a_page_of_another_site_cannot_use_a_login(alice):
    """The login is a reader's at the hub."""
    alice.open()
    for path in (f"/user/{alice.user}/api/kernels", f"/hub/api/users/{alice.user}/tokens"):
        assert alice.page.evaluate(hub.FETCH, ["POST", path, "", "{}"])["status"] == 403, (
            path
        )  # The request has no token of the hub's forms.


ATTEMPTS = (DATA / "attempts.js").read_text(encoding="utf-8")


@pytest.mark.claims(
    "Your server has an address of its own, a name below that of the hub: ``{{ "
    "hosts.servers }}``. So a page of somebody "
    "else's server does nothing with your login, even if you open it."
)
@pytest.mark.claims(
    "The service is tried as a stranger would: in a browser with all logins, a page of "
    "one user does nothing for another."
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
    assert (
        page.get_by_role("link", name="Logout")
        .or_(page.get_by_role("button", name="Logout"))
        .count()
    ), "the logout is not the reader's"
    page.goto(f"{theirs}/hub/login")
    assert not page.url.startswith(theirs), "the login page appears at the name of a user's server"
    page.close()


@pytest.mark.claims("and its log believes nobody who says to be somewhere else.")
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
    output = as_hub(
        triton, f'PYTHONPATH=/etc/jupyterhub /opt/jupyterhub/bin/python -c "{look}"'
    ).stdout.strip()
    assert says in output and bool(output) == bool(says), output


# {names of the browsers' certificate: the message of the hub at its start}
CERTIFICATES = {
    f"DNS:{HUB[8:]}": f"is not for *.{HUB[8:]}. Put one there that is "
    "good for all; if you get none "
    "for a "
    'wildcard, see "Without a wildcard name" in README.md.\n',
    f"DNS:*.{HUB[8:].partition('.')[2]},DNS:*.{HUB[8:]}": "",
    "": "cannot be read: ",
}


@pytest.mark.claims("The hub itself tells it at its start.")
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
        output = as_hub(triton, f'/opt/jupyterhub/bin/python -B -c "{load}"').stderr
    finally:
        triton.run("hub", f"mv /root/cert.pem {file}")
    begin = f"JupyterHub: the certificate {file} "
    assert (
        output.startswith(begin + CERTIFICATES[names])
        if CERTIFICATES[names]
        else begin not in output
    ), output


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
    triton.run("login", f"scontrol write batch_script {alice.job()} - | bash -n", alice.user)


@pytest.mark.parametrize(
    "options",
    [
        {"options": "x"},
        {"profile": "no such"},
        {"profile": [TINY]},
        {"memory": "1T", "profile": TINY},
    ],
)
def test_options_that_are_no_profile_are_refused(visit, options):
    window = visit()
    window.log_in()
    window.page.locator("#spawn_form").wait_for()
    answer = window.ask("POST", f"/users/{window.user}/server", options, base="/hub/api")
    assert answer.status == 400 and not window.job()


def test_a_link_starts_no_server(visit):
    window = visit()
    window.log_in()
    window.page.locator("#spawn_form").wait_for()
    window.open(f"/hub/spawn?profile={TINY}")
    assert (
        "Nothing was started. Choose a profile, and press Start." in window.said()
        and not window.job()
    )


def test_the_hub_is_no_root_and_sudo_lists_what_it_may_do(triton, alice):
    users = triton.run(
        "hub",
        "ps -o user:20=,args= -e | grep -E 'bin/(jupyterhub|node)' | grep -v grep | awk "
        "'{print $1}'",
    ).stdout.split()
    assert len(users) >= 2 and set(users) == {"jupyterhub"}
    defaults, _, allowed = triton.run(
        "hub", "sudo --list --other-user=jupyterhub"
    ).stdout.partition("may run the following commands")
    assert "!env_reset" not in defaults and re.findall(r"env_keep[^,]*", defaults) == [
        'env_keep="JUPYTERHUB_* JPY_*"'
    ], defaults
    listing = triton.run(
        "hub",
        "cd /etc/jupyterhub; /opt/jupyterhub/bin/python -c 'import jobs; print(*jobs.SQUEUE)'",
    ).stdout.strip()
    [line] = allowed.splitlines()[1:]
    assert (
        line.replace("\\", "")
        == f"    (%users) NOPASSWD: /usr/bin/{listing}, /usr/bin/sbatch --parsable, "
        "/usr/bin/scancel ^[0-9]+$"
    )
    assert as_hub(
        triton, f"sudo --non-interactive --user={alice.user} {shlex.join(listing.split())}"
    ).stdout, "the hub calls the command with other arguments"
    refused = [
        "id",
        "sbatch --parsable --uid=0",
        "scancel --user=root",
        f"scancel --signal=KILL {alice.job()}",
        "/bin/sh -c id",
        "squeue",
    ]
    for command in refused:
        assert as_hub(
            triton, f"sudo --non-interactive --user={alice.user} {command}", check=False
        ).returncode, command
    for user in ("root", "slurm", "munge"):
        assert as_hub(
            triton,
            f"sudo --non-interactive --user={user} sbatch --parsable </dev/null",
            check=False,
        ).returncode, user


@pytest.mark.claims(
    "Notebooks and terminals of JupyterHub and of ``sjupyter`` have none of those variables:"
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


@pytest.mark.claims(
    "Nobody but you reaches your kernel, a kernel of your own too: JupyterLab talks to "
    "it through Unix sockets in a folder "
    "of yours."
)
@pytest.mark.claims(
    "Nobody else on a node reads or reaches a kernel: :doc:`which ones "
    "</triton/apps/jupyter/kernels>`."
)
def test_nobody_else_on_the_node_reaches_a_kernel(alice, server, triton):
    """Over TCP, others could read everything that it prints. So it has sockets in a folder of its
    owner.

    An ipykernel keeps one port, which receives the output of forked children and sends nothing.
    """
    node = triton.run("login", "squeue --me --noheader --format=%N", alice.user).stdout.strip()
    folder = f"{FACTS.paths.user_kernels}/mine"
    triton.run("login", f"mkdir -p {folder}", alice.user)
    triton.write(
        "login",
        f"{folder}/kernel.json",
        pages.read("triton/apps/jupyter/demo-kernel.json"),
        alice.user,
    )
    for name, code in (
        ("python3", "print(1)"),
        ("bash", "echo 1"),
        ("ir", "cat(1)"),
        ("mine", "print(1)"),
    ):
        assert server.kernel(name).prints(code) == "1"
    listening = triton.listening(node, alice.user)
    servers = [args for args in listening if "singleuser" in args]
    assert len(servers) == 1, listening
    for args, ports in listening.items():
        assert ports == 1 and (args in servers or "ipykernel" in args or "bash_kernel" in args), (
            listening
        )
    folder = f"/tmp/jupyter-{alice.job()}-*"
    sockets = triton.run(node, f"find {folder}/runtime -type s", alice.user).stdout.split()
    assert len(sockets) == 5 * len(server.talk("ask", "/api/kernels")), sockets
    assert triton.run(node, f"stat --format='%a %U' {folder}").stdout.split() == ["700", alice.user]


@pytest.mark.claims("JupyterLab's debugger is off:")
def test_jupyterlab_has_no_debugger(alice, triton):
    """A debugger would open a port on the node without a password."""
    triton.write("login", "~/debugged.ipynb", notebook(["1"]), alice.user)
    alice.open(f"/user/{alice.user}/lab/tree/home/debugged.ipynb?reset")
    Lab(alice.page).run_cell()
    assert alice.page.locator(".jp-Toolbar-item").count() > 5
    assert not alice.page.locator(
        ".jp-DebuggerBugButton, .jp-DebuggerSidebar, [title*=Debugger]"
    ).count()


@pytest.mark.claims("Of a plot in Vega it shows the text:")
def test_jupyterlab_shows_the_text_of_a_vega_plot(alice, triton):
    """Its data may be any file of the server, and the address of its picture tells them."""
    plot = (cluster.ROOT / "tests/data/commands/of_somebody/plot.vg").read_text(encoding="utf-8")
    triton.write("login", "~/plot.vg", plot, alice.user)
    alice.open(f"/user/{alice.user}/lab/tree/home/plot.vg?reset")
    alice.page.locator(".jp-FileEditor").get_by_text("marks").wait_for()
    policy = alice.ask("GET", "/tree").headers["content-security-policy"]
    assert "img-src 'self'" in policy, "the classic Notebook draws it"


def test_files_behind_a_link_are_sent_but_no_hidden_ones(alice, triton):
    """JupyterLab downloads, and shows pictures in a text, by this address. All is behind a link."""
    triton.run("login", "echo words > sent.txt; echo words > .hidden.txt", alice.user)
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
    triton.run("login", "git init --quiet --bare copied/from-others", alice.user)
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
    for more in ({}, {"urlpath": "lab/tree/home/x"}, {"urlpath": "lab/tree/home/guide/../x"}):
        asks(page, f"{base}?{urlencode(guides | more)}", "A link wants to copy")
    asks(page, f"{base}?{link}", "A link wants to copy")
    page.get_by_role("link", name="Go on").click()
    page.get_by_text("Synchronizing").wait_for()
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
    triton.write("login", "~/of-mine.ipynb", notebook(["1"]), alice.user)
    base = f"{hub.own(alice.user)}/user/{alice.user}/{look}"
    page = alice.context.new_page()
    there = triton.run("login", "echo $WRKDIR", other).stdout.strip()
    path = there.replace(FACTS.paths.scratch, "scratch")
    for way in (path, f"home%2F..%2F{path}"):
        asks(page, f"{base}/{way}/of-others.ipynb", "A link wants to open")
    assert kernels() == before
    page.get_by_role("link", name="Go on").click()
    page.locator(".jp-Notebook").first.wait_for()
    page.goto(f"{base}/home/of-mine.ipynb")
    page.locator(".jp-Notebook").first.wait_for()
    page.close()


def test_secrets_are_for_the_hub_only(triton):
    listed = triton.run(
        "hub",
        "stat --format='%a %U %n' /var/lib/jupyterhub /etc/jupyterhub/tls/key.pem $(find "
        "/var/lib/jupyterhub -type f ! -name '*.crt')",
    ).stdout.splitlines()
    assert len(listed) >= 5 and [line for line in listed if line.endswith("-ca.key")]
    for line in listed:
        mode, user, name = line.split()
        assert user == "jupyterhub" and mode in ("700", "600", "400"), name
    refused = triton.run(
        "login",
        f"curl --silent --max-time 5 http://{FACTS.hosts.hub}:8001/api/routes",
        check=False,
    )
    assert refused.returncode == 7, "the proxy takes orders from its own host only"


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
    alice.page.on(
        "response", lambda answer: answers.append(answer)
    )  # playwright does not accept a method of a list
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
    assert (
        headers["x-content-type-options"] == "nosniff"
        and "max-age=" in headers["strict-transport-security"]
    )


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
        "server": triton.run("login", f"cat {LOGS}", alice.user).stdout,
    }
    assert "[D " in texts["hub"] and "[D " in texts["server"] and len(secrets) >= 8
    for name, text in texts.items():
        assert not [secret for secret in secrets if secret in text], f"a secret is in: {name}"


def test_two_servers_of_one_user_run_at_once_and_on_one_node(
    alice, server, triton, record_property
):
    name = "second"
    path = f"/users/{alice.user}/servers/{name}"
    first, look = (
        server.kernel(),
        "import os; print(os.environ['SLURMD_NODENAME'], os.environ['SLURM_JOB_ID'])",
    )
    node, job = first.prints(look).split()
    others = ",".join(other for other in triton.nodes if other != node)
    triton.run("ctl", f"scontrol update nodename={others} state=drain reason=test")
    second = HubServer(alice, name)
    try:
        assert alice.ask("POST", path, {"profile": TINY}, base="/hub/api").status in (201, 202)
        until = time.monotonic() + PATIENCE
        while (
            alice.ask("GET", f"/users/{alice.user}", base="/hub/api")
            .json()["servers"]
            .get(name, {})
            .get("ready")
            is not True
        ):
            assert time.monotonic() < until
            time.sleep(0.5)
        theirs = second.kernel().prints(look).split()
        assert theirs[0] == node and theirs[1] != job and first.prints(look).split() == [node, job]
        record_property(
            "measured", "two servers of one user on one node: both answer, each with its own job"
        )
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
    triton.run("login", "mkdir .jupyter", window.user)
    triton.write("login", "~/.jupyter/jupyter_server_config.py", TELLS, window.user)
    window.log_in()
    window.choose(TINY)
    window.press_start()
    window.page.wait_for_url("**/spawn-pending/**")
    assert window.ask("POST", "/batchspawner", {"port": 8888}, base="/hub/api").status == 403, (
        "a user who is no server can send a port"
    )
    window.arrive()
    assert json.loads(triton.run("login", "cat told", window.user).stdout) == [
        400,
        400,
        400,
        400,
        400,
        201,
    ]
    refused = [
        line
        for line in hub.log(triton).splitlines()
        if f"Refused from the server of {window.user}: fields ['note', 'port']" in line
    ]
    assert [line[:3] for line in refused] == ["[W "], (
        "the log of a server at the usual level misses the message"
    )
    assert kernel.prints(TELL + "print(tell({'port': 8888}))") == "400", (
        "a running server can send a port"
    )
    triton.run("login", "scancel --me", window.user)


# ---------------------------------------------------------------- the FAQ


@pytest.mark.claims(
    "What stands behind the colon is Slurm's own reason: it cannot give what the profile asks for.",
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
    window.arrive()
    window.triton.run("login", "scancel --me", window.user)


@pytest.mark.claims("The end of the newest one:")
@pytest.mark.claims("Look in your home directory, for ``{{ logs.pattern }}``:")
@pytest.mark.proves("faq-log")
def test_the_newest_log_is_the_first_that_the_page_lists(alice, triton, entry):
    [command] = entry.commands()
    listed = triton.run("login", command, alice.user).stdout.split()
    newest = LOGS.replace("*", alice.job()).replace("~", f"{FACTS.paths.home}/{alice.user}")
    assert listed[0] == newest
    [shown] = [
        command
        for block in pages.blocks("triton/apps/jupyter/hub.rst")
        for command in block.commands
        if command.text.endswith("tail")
    ]
    # another line may come between the two
    look = (
        f"for i in $(seq 20); do tail {newest} | cmp --silent - <({shown.text}) && echo same "
        "&& break; sleep 0.2; done"
    )
    same = triton.run("login", look, alice.user, check=False).stdout
    assert same == "same\n", (
        f"triton/apps/jupyter/hub.rst:{shown.line}: not the end of the newest log"
    )


# ---------------------------------------------------------------- the course

RAW = re.compile(
    r"\{[\w-]+\}`|^:::|```|\{\{|\]\(|\+\+\+|\*\*", re.MULTILINE
)  # MyST syntax, a placeholder, or Markdown that was not rendered


def test_each_notebook_of_the_student_zip_opens_cleanly(alice, triton):
    """JupyterLab shows nothing raw or broken."""
    course = editions.load()
    packed = base64.b64encode(
        editions.zipped(editions.student_files(course, FACTS.site.url, FACTS.in_words()))
    ).decode()
    # JupyterLab draws all cells of a notebook, not only the visible ones.
    whole = "~/.jupyter/lab/user-settings/@jupyterlab/notebook-extension"
    triton.run(
        "login",
        "base64 -d > ~/student.zip && python3 -m zipfile -e ~/student.zip ~ && mkdir -p "
        f"{whole} && "
        f'echo \'{{"windowingMode": "none"}}\' > {whole}/tracker.jupyterlab-settings',
        alice.user,
        input=packed,
    )
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
        assert alice.page.locator(".jp-Dialog").count() == 0, alice.page.locator(
            ".jp-Dialog"
        ).all_inner_texts()
    alice.page.locator(".jp-DirListing-item", has_text="README").dblclick()
    alice.page.frame_locator("iframe.jp-HTMLViewer, .jp-HTMLViewer iframe").get_by_role(
        "heading", name="the course"
    ).wait_for()
    assert not triton.run("login", f"find ~/{editions.FOLDER} -name '*.md'", alice.user).stdout, (
        "JupyterLab would open it as raw text"
    )


@pytest.mark.claims(
    "under the title of each notebook, brings the student edition into a home directory, "
    "and opens it. It comes from the branch "
    "``student`` of the guide's repository,",
    "Who opens it again gets what is new, and keeps what they wrote.",
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
    assert (
        triton.run("login", f"cat {folder}/{name}.ipynb", window.user).stdout
        == files[f"{name}.ipynb"]
    )
    triton.run(
        "login",
        f"sed -i 's/week = hours/mine = hours/' {folder}/{name}.ipynb; echo mine > "
        f"{folder}/notes.txt",
        window.user,
    )
    push(files | {"README.html": tells})
    press()
    output = triton.run(
        "login",
        f"cat {folder}/README.html {folder}/notes.txt; grep -c 'mine = hours' "
        f"{folder}/{name}.ipynb",
        window.user,
    ).stdout
    assert output.split("\n") == [f"{tells}mine", "1", ""]
    triton.run("login", "scancel --me", window.user)
