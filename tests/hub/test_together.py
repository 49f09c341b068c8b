"""The hub has no AI assistant, and nobody works in another's server; two people who share a folder
are asked before one overwrites the other.
"""

import json
import re
import urllib.parse

import pytest

from tools import pages
from tools.browser import needs_chromium
from tools.cluster import cluster
from tools.cluster.hub import HUB, TINY, Visit, notebook, own

FACTS = cluster.facts()
PAGE = "triton/apps/jupyter/together.rst"
pytestmark = [needs_chromium, pytest.mark.usefixtures("services")]
# Every extension of JupyterLab that is in its environment. Is one added, say on the page about AI
# assistants what it sends to others.
EXTENSIONS = {
    "@cmd-ntrf/jupyterlab-lmod",
    "@jupyter-notebook/lab-extension",
    "@jupyter-server/resource-usage",
    "@jupyter-widgets/jupyterlab-manager",
    "@jupyterlab/git",
    "ipyparallel-labextension",
    "jupyter-matplotlib",
    "jupyterhub-time-limit",
    "jupyterlab-jupytext",
    "jupyterlab_pygments",
    "nbdime-jupyterlab",
    "variable-inspector",
}
# Packages with assistants and live editing, and what these need.
NONE_OF = (
    "jupyter_ai",
    "jupyter_ai_magics",
    "jupyterlab_chat",
    "notebook_intelligence",
    "jupyter_collaboration",
    "jupyter_collaboration_ui",
    "jupyter_server_ydoc",
    "jupyter_server_documents",
    "pycrdt",
    "openai",
    "litellm",
)


@pytest.fixture(scope="module")
def colleague(triton, chromium):
    """Another user, whose server runs."""
    window = Visit(triton, triton.account(), chromium)
    window.start(TINY)
    yield window
    triton.run("login", "scancel --me", window.user, check=False)
    window.close()


@pytest.mark.claims(
    "JupyterHub has no AI assistant. None of its extensions is one,",
    "So the environment of the service has no package of this kind,",
    "jupyter-collaboration, which adds live editing, is not installed.",
    "JupyterHub has no live editing, as Google Docs has it.",
    "No. It would send what you write, and what your cells show, to a company.",
    "- jupyter-ai - :ref:`why JupyterHub has none <assistants-hub>`",
    "No assistant was run to prove this page.",
)
@pytest.mark.proves("faq-ai")
def test_the_hub_has_no_assistant_and_no_live_editing(staying, entry):
    """What the page of a running server loads, and what its environment can import."""
    assert not entry.messages
    staying.open(f"/user/{staying.user}/lab?reset")
    staying.page.locator(".jp-LauncherCard").first.wait_for()
    config = json.loads(staying.page.locator("#jupyter-config-data").text_content())
    extensions = {extension["name"] for extension in config["federated_extensions"]}
    assert extensions == EXTENSIONS
    find = f"from importlib.util import find_spec; print(*map(find_spec, {NONE_OF}))"
    python = f"{FACTS.paths.jupyter_env}/bin/python"
    assert staying.user.run([python, "-c", find]).split() == ["None"] * len(NONE_OF)
    packages = {path.name.partition("-")[0] for path in (cluster.APPS / "wheels").glob("*.whl")}
    assert packages and not packages & set(NONE_OF), "nobody here can install one"


@pytest.mark.claims("and its pages ask no other web site for anything.")
def test_pages_of_the_hub_ask_no_other_web_site(staying):
    """From the login to a cell that has run, and a look at the settings."""
    asked = []
    staying.context.on("request", lambda request: asked.append(request.url))
    staying.page.on("websocket", lambda socket: asked.append(socket.url))
    staying.open()
    lab = staying.notebook("asks", "print(1)")
    lab.run_cell()
    assert lab.output().strip() == "1"
    lab.save()
    lab.menu("Settings", "Settings Editor")
    lab.page.locator(".jp-SettingsPanel, .jp-PluginList").first.wait_for()
    hosts = {urllib.parse.urlsplit(url).netloc for url in asked if url.startswith(("http", "ws"))}
    ours = {urllib.parse.urlsplit(url).netloc for url in (HUB, own(staying.user))}
    assert hosts == ours


@pytest.mark.claims(
    "JupyterHub can share servers elsewhere; here nobody may.",
    "No. Whoever types into your notebook runs programs as you.",
    "Your server answers nobody else: ``You do not have permission to access``.",
    "``You do not have permission to access``: the address is that of somebody else's server, "
    "from a link of a colleague, for example.",
)
@pytest.mark.proves("faq-403", [])
@pytest.mark.proves("faq-together")
def test_nobody_can_share_a_server(staying, colleague, entry):
    """Neither with a user nor by a code, and the page of the server is refused."""
    for way, body in (
        (f"/shares/{staying.user}/", {"user": str(colleague.user)}),
        (f"/share-codes/{staying.user}/", {}),
    ):
        answer = staying.ask("POST", way, body, base="/hub/api")
        assert answer.status == 403, (way, answer)
    colleague.open(f"/user/{staying.user}/lab")
    entry.shows(colleague.said())


@pytest.mark.claims(
    "Files that one of you makes in it, the other can change, and nobody else can open. The third "
    "line lets her through ``$WRKDIR`` without showing what else is there; "
    ":ref:`let nobody read your other "
    "folders <data-read>`, for she may know their names.",
    "neither sees the variables of the other.",
    "Both have it open, and both save? Whoever saves second is asked, under ``File Changed``:",
    "*Revert* - your changes are lost, and you see those of the other",
    "*Overwrite* - those of the other are lost",
    "*Cancel* - nothing is lost yet: your page has yours, the file has the other's",
    "*Overwrite* deletes what the other has saved since you opened the notebook, and no "
    "copy is kept.",
    "Then compare the two: ``nbdiff``, with both names.",
    "- to have it in one place - :ref:`a folder for two <together-folder>`, in which one "
    "works at a time",
)
def test_two_people_save_one_notebook(staying, colleague):
    """Each in a server of their own, in the folder that the page makes."""
    user, other = staying.user, colleague.user
    work = f"{FACTS.paths.work}/{user}"
    ours = f"{work}/ours"
    lines = re.findall(r"mkdir .*WRKDIR/.*|setfacl --modify .*", pages.read(PAGE))
    typed = "; ".join(lines).replace("alice", other).replace(":username:", f":{user}:")
    user.run(f"touch {work}/mine; {typed}")
    assert other.tries(f"ls {work}").returncode and not other.tries(f"cat {work}/mine").returncode

    def opens(window):
        window.open(f"/user/{window.user}/lab/tree/scratch/work/{user}/ours/one.ipynb?reset")
        window.page.get_by_role("link", name="Go on").click()  # others may write in that folder
        window.lab.cell(1).wait_for()
        return window.lab

    def in_file(text):
        user.wait_until(f"grep -q '{text}' {ours}/one.ipynb")
        return user.run(f"cat {ours}/one.ipynb")

    def shown(lab):
        return lab.cell(0).locator(".cm-content").inner_text()

    def saves(lab, change, button=""):
        lab.page.wait_for_timeout(1500)  # the file gets another modification time
        lab.write(change)
        lab.save()
        if button:
            assert lab.dialog(about="File Changed")
            lab.press(button)

    sources = ["shared = 1", "print('shared' in dir())"]
    other.run(f"cat > {ours}/one.ipynb", input=notebook(sources))
    stranger = user.triton.account()
    user.run(f"chmod o+x {work}")
    assert "Permission denied" in stranger.tries(f"cat {ours}/one.ipynb").stderr
    hers, mine = opens(colleague), opens(staying)
    hers.run_cell()
    hers.run_cell(1)
    mine.run_cell(1)
    assert (hers.output(1).strip(), mine.output(1).strip()) == ("True", "False")
    saves(hers, "; hers = 2")
    in_file("hers = 2")
    saves(mine, "; mine = 3", "Cancel")
    assert "mine" not in in_file("hers = 2") and "mine = 3" in shown(mine)
    mine.save()
    assert mine.dialog(about="File Changed")
    mine.press("Revert")
    mine.page.locator(".cm-content", has_text="hers = 2").first.wait_for()
    assert "mine" not in shown(mine) and "mine" not in in_file("hers = 2")
    saves(hers, "; more = 4")
    in_file("more = 4")
    saves(mine, "; mine = 5", "Overwrite")
    assert "more = 4" not in in_file("mine = 5")
    user.wait_until(f"! grep -rq 'more = 4' {ours}")  # nor in the checkpoint
    user.run(f"cd {ours}; sed 's/mine = 5/other = 6/' one.ipynb > two.ipynb")
    compare = f"module load {FACTS.modules.jupyter}; cd {ours}; nbdiff one.ipynb two.ipynb"
    assert "other = 6" in user.run(compare)
