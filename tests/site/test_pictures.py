"""The guide's pictures are current: their steps still work, and today's pages look like them."""

import itertools
import re
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageChops, ImageDraw

from tools import pages
from tools.browser import needs_chromium
from tools.files import ROOT
from tools.pictures import tour
from tools.pictures.take import PICTURES, Failed
from tools.site import build_site

IMAGES = ROOT / "images"
STILLS = [(name, scheme) for name in tour.STILLS for scheme in tour.SCHEMES]

# The most by which a picture may differ from today's page. They are compared in squares of 8 x 8
# pixels of the window, by mean colour. The colour may differ by this many levels of 255, which
# allows for the 256 colours of a GIF. Of 10625 squares, this many may differ more: fewer than those
# of a word, more than those of a cursor.
SQUARE, LEVELS, MOST = 8, 20, 3

VARIES = [  # These texts differ in each run, and no reader needs them.
    (r"\b([Jj])ob \d+\b|^\d+(?= +c\d)", "JOB"),  # as in: Job 7 is ended.
    (r"\bc\d+\b", "NODE"),  # as in: runs on c1
    (r"(:|-L )\d{5}\b", r"\1PORT"),  # a port, as in c1.int...:39343
    (r"\((Resources|Priority|None)\)", "(REASON)"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "DATE"),
    (r"\b1:5\d:\d\d\b", "LEFT"),  # the time that is left of 2 hours
    (r"(\d+|-)M(?= of )", "USED"),  # as in: 156M of 1G, where 1G stays
    (r"(?<=\S)  +", "  "),  # columns are as wide as their texts
]


def shown(name):
    """The rows of text in the picture, as (line of the file, text) pairs."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [
        (number, "".join(ElementTree.fromstring(line).itertext()))
        for number, line in enumerate(lines, 1)
        if line.startswith("<text")
    ]


def comparable(rows):
    """The (line, text) pairs without the texts that vary.

    A job may print several reasons to wait; only the last one counts.
    """
    user = re.match(r"\w+", rows[0][1])[0]
    pairs = []
    for number, text in rows:
        text = text.replace(user, "USER")
        for pattern, instead in VARIES:
            text = re.sub(pattern, instead, text)
        if pairs and "(REASON)" in text and "(REASON)" in pairs[-1][1]:
            pairs.pop()
        pairs.append((number, text))
    return pairs


@pytest.mark.claims("So it does when the connection breaks,")
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_what_its_steps_show_today(name, triton):
    rows, failed = [], ""
    try:
        rows = PICTURES[name](triton, triton.account()).rows()
    except Failed as error:
        failed = f"{name}: a step that it shows no longer works: {error}"
    if failed:
        pytest.fail(failed, pytrace=False)
    today = [
        (0, text) for text in map(lambda row: "".join(piece for _, piece in row), rows) if text
    ]
    for (line, old), (_, new) in itertools.zip_longest(
        comparable(shown(name)), comparable(today), fillvalue=("end", "")
    ):
        if old != new:
            pytest.fail(
                f"{name}, line {line}: the picture shows {old!r}, today's run {new!r}. If "
                "today's is right: make pictures",
                pytrace=False,
            )


@pytest.mark.claims(
    "On the laptop someone types ssh and the name of the login node, and there sjupyter "
    "with two hours and 1 GB. It says "
    "that the job waits for resources and until when at most, then on which node it "
    "runs, and prints the address and four "
    "ssh lines. The connection breaks. After a new ssh, sjupyter --list still shows the "
    "server, and sjupyter --stop ends "
    "it.",
    "A real run, from start to stop, with a broken connection in between.",
)
def test_the_words_for_the_recording_are_those_of_its_rows():
    """These words replace the recording for screen readers."""
    [name] = PICTURES
    rows = iter(text for _, text in shown(name))
    steps = [
        rf"laptop:~\$ ssh {re.escape(tour.FACTS.hosts.login)}$",
        r"\$ sjupyter -t 02:00:00 --mem=1G$",
        r"in the queue \(Resources\); Slurm expects it to start at",
        "^Jupyter runs on",
        r"^  http://.*token=",
        *[r"^  ssh -[DL] "] * 4,
        "^Connection to .* closed",
        r"laptop:~\$ ssh ",
        r"\$ sjupyter --list$",
        " ready ",
        r"\$ sjupyter --stop$",
        "is ended",
    ]
    assert not [step for step in steps if not any(re.search(step, row) for row in rows)], (
        "the picture does not show these steps"
    )

    text = "\n".join(text for _, text in shown(name))
    assert not [pattern for pattern, _ in VARIES if not re.search(pattern, text, re.MULTILINE)]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_and_gives_no_token_away(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert (
        len(text) < 60_000
        and "token=..." in text
        and not re.search(r"token=\w|\b[0-9a-f]{16,}\b", text)
    )


@needs_chromium
@pytest.mark.parametrize("name", PICTURES)
def test_a_recording_plays_once_or_stands_still(name, browser):
    """It stands still for readers who prefer no motion."""
    seen = (
        "[...document.querySelectorAll('tspan')].map(piece => getComputedStyle(piece).visibility)"
    )
    page = browser.new_page()
    page.goto((ROOT / name).as_uri())
    assert set(page.evaluate(seen)) == {"visible"}
    page.goto((ROOT / name).as_uri() + "#play")
    assert set(page.evaluate(seen)[-10:]) == {"hidden"}
    page.evaluate("document.getAnimations().forEach(piece => piece.finish())")
    assert set(page.evaluate(seen)) == {"visible"}
    page.close()
    page = browser.new_page(reduced_motion="reduce")
    page.goto((ROOT / name).as_uri() + "#play")
    assert set(page.evaluate(seen)) == {"visible"}
    page.close()


# ---------------------------------------------------------------- screenshots and the film


@pytest.fixture(scope="module")
def views(triton, playwright):
    """The views of a visit of the hub today. It fails with the step that no longer works."""
    with tour.chromium(triton, playwright) as chromium:
        return tour.go(triton, triton.account(), chromium)


def off(picture, shots, scheme):
    """The squares of the picture that differ from today's, as their (left, top) in pixels of the
    window. Texts that vary are left out.
    """
    today = shots.images[scheme]
    size = today.width // tour.SCALE, today.height // tour.SCALE
    pair = [
        picture.convert("RGB").resize(size, Image.Resampling.BOX),
        today.resize(size, Image.Resampling.BOX),
    ]
    for one in pair:
        for box in shots.varies:
            ImageDraw.Draw(one).rectangle([side / tour.SCALE for side in box], fill="grey")
    squares = ImageChops.difference(*pair).reduce(SQUARE)
    return [
        (SQUARE * (number % squares.width), SQUARE * (number // squares.width))
        for number, colour in enumerate(squares.get_flattened_data())
        if max(colour) > LEVELS
    ]


@pytest.mark.claims(
    "Each step that a screenshot or a film shows is done anew, and what the service shows is "
    "compared with the picture, in both colours."
)
@needs_chromium
@pytest.mark.parametrize(("name", "scheme"), STILLS)
def test_a_screenshot_shows_what_the_service_shows_today(name, scheme, views):
    view = next(view for view in views if view.name == tour.STILLS[name])
    with Image.open(IMAGES / f"{name}-{scheme}.webp") as picture:
        assert picture.size == view.still.images[scheme].size
        assert len(off(picture, view.still, scheme)) <= MOST, (
            "If today's page is right: make pictures"
        )


@pytest.mark.claims("From the login to the stop, taken from the running service.")
@needs_chromium
@pytest.mark.parametrize(
    ("file", "scheme"),
    [
        (f"{tour.FILM}.gif", "light"),
        *((f"{tour.FILM}-{scheme}.avif", scheme) for scheme in tour.SCHEMES),
    ],
)
def test_the_film_shows_what_the_service_shows_today(file, scheme, views):
    with Image.open(IMAGES / file) as film:
        assert film.n_frames == len(views)
        for number, view in enumerate(views):
            film.seek(number)
            assert len(off(film, view.film, scheme)) <= MOST, (
                f"view {number}, {view.name}. If today's page is right: make pictures"
            )


@pytest.mark.claims(
    "A double click on :guilabel:`home` does it; then press :guilabel:`Python 3 "
    "(ipykernel)` in the launcher.",
    "In JupyterLab choose :menuselection:`File --> Hub Control Panel`, and press "
    ":guilabel:`Stop My Server`.",
)
@needs_chromium
def test_the_page_names_what_is_clicked_in_order(views):
    """The order is that of the visit."""
    clicked = [view.name for view in views if view.clicks]
    page = "triton/apps/jupyter/hub.rst"
    table = (
        pages.read(page).partition("   * - You do this")[0].count("\n")
    )  # the page lists several ways to stop below the visit
    assert [
        name for line, _, names in pages.controls(page) if line <= table for name in names
    ] == clicked, page
    for page in pages.sources():
        for line, role, names in pages.controls(page):
            ours = page == "notebooks/teaching.rst"  # test_class.py checks the guide's own buttons
            assert ours or role == "menuselection" or names[0] in clicked, (
                f"{page}:{line}: the visit has no button {names[0]!r}"
            )


@pytest.mark.claims(
    "The page of the login, with a user name and a password filled in, and a ring around "
    "the button Sign in.",
    "The page with the table of profiles. The first, Long and small, is chosen; a ring "
    "is around the button Start below.",
    "Pending in queue, Resources, the cluster is busy, it starts when there is room, and "
    "the time when it starts at the "
    "latest. Below that a button, Stop Server.",
    "JupyterLab. On the left a list of three folders, home, scratch and work, with a "
    "ring around home. On the right the "
    "launcher, with cards for notebooks in Python 3, Bash and R, consoles of the same, a "
    "terminal and files.",
    "The Hub Control Panel, with a ring around the red button Stop My Server. Below it "
    "the list of named servers is empty.",
    "Someone logs in to JupyterHub, presses Start below the table of profiles, waits for "
    "a place in the queue, opens the "
    "folder home in JupyterLab, makes a Python notebook, and runs a cell that draws a "
    "curve. Then File, Hub Control Panel, "
    "Stop My Server.",
    "Choose R in the launcher.",
)
@needs_chromium
def test_the_words_for_a_picture_are_those_of_the_visit(views):
    """Readers who do not see the pictures and the film read their content there."""
    seen = {view.name: view.says for view in views}
    assert [view.name for view in views] == [
        "Sign in",
        "Start",
        "pending",
        "home",
        "Python 3 (ipykernel)",
        "code",
        "output",
        "File",
        "Hub Control Panel",
        "Stop My Server",
        "stopped",
    ]
    assert tour.FACTS.profiles[0].name == tour.PROFILE
    assert re.search("Profile Runs for .*Start$|Start", seen["Start"])
    assert re.search(
        r"Pending in queue\.\.\. Resources: the cluster is busy, it starts when there is "
        r"room\. .* at the latest.*Stop Server",
        seen["pending"],
    ), seen["pending"]
    assert re.search(r"Modified home .*scratch .*work ", seen["home"]), seen["home"]
    for part, cards in re.findall(
        r"(Notebook|Console|Other) (.*?)(?= Console | Other |$)", seen["home"]
    ):
        assert all(
            card in cards
            for card in (
                ["Terminal", "Text File"] if part == "Other" else ["Python 3", "Bash", "R"]
            )
        ), seen["home"]
    assert re.search("Stop My Server .*Named Servers", seen["Stop My Server"]), seen[
        "Stop My Server"
    ]


def test_every_picture_stands_on_a_page():
    shown = {
        name
        for source in pages.sources()
        for name in re.findall(r"(?:::|:still:) /images/(\S+)", pages.read(source))
    }
    assert {re.sub(r"(-light|-dark)?\.\w+$", "", path.name) for path in IMAGES.iterdir()} == {
        name.removesuffix(".svg") for name in shown
    }


def test_a_picture_without_words_for_the_blind_fails_the_build(tmp_path):
    (tmp_path / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); extensions = ['_ext.screenshots']"
    )
    (tmp_path / "index.rst").write_text(
        "Title\n=====\n\n.. screenshot:: /a\n\n.. film:: /b\n   :still: /a\n   :alt:\n"
    )
    built = build_site(tmp_path, tmp_path / "built")
    assert (
        built.returncode
        and "index.rst:4: ERROR: screenshot needs :alt:, for those" in built.stderr
        and "index.rst:6: ERROR" in built.stderr
    ), built.stderr


@needs_chromium
def test_a_page_shows_the_pictures_in_its_own_colours(page):
    """It loads no picture in other colours."""
    opened = page("triton/apps/jupyter/hub.html", color_scheme="dark")

    def shown():
        """For each visible picture, the end of its address, for this browser and for an old one."""
        visible = [
            picture for picture in opened.locator("img.screenshot").all() if picture.is_visible()
        ]
        for picture in visible:
            picture.scroll_into_view_if_needed()
            picture.evaluate("picture => picture.decode()")
        return {
            tuple(
                picture.evaluate(
                    "picture => [picture.currentSrc, picture.src].map(address => "
                    "address.split('-').pop())"
                )
            )
            for picture in visible
        }

    assert shown() == {("dark.webp", "dark.jpg")}
    loaded = [url.rpartition("/")[2] for url in opened.asked if url.endswith((".webp", ".jpg"))]
    assert sorted(loaded) == sorted(f"{name}-dark.webp" for name in tour.STILLS)
    opened.get_by_role("button", name="Light or dark colours").click()
    assert shown() == {("light.webp", "light.jpg")}


@needs_chromium
@pytest.mark.claims("Click it to see it play, or to copy from it.")
def test_a_click_on_the_recording_opens_it_alone(page):
    """The reader can select its text there."""
    opened = page("triton/apps/jupyter/sjupyter.html")
    opened.locator(".recording img").click()
    opened.wait_for_url("**/*.svg#play")
    opened.evaluate("document.getAnimations().forEach(piece => piece.finish())")
    assert "sjupyter --list" in opened.evaluate(
        "getSelection().selectAllChildren(document.documentElement), String(getSelection())"
    )


@needs_chromium
def test_the_film_is_loaded_when_a_reader_plays_it(page):
    """The reader can close it."""
    opened = page("triton/apps/jupyter.html", color_scheme="dark")
    opened.wait_for_load_state("networkidle")
    assert not [url for url in opened.asked if url.endswith((".avif", ".gif"))]
    with opened.expect_response(re.compile(rf"{tour.FILM}\W")):
        opened.get_by_text("Play").click()
    assert [url.rpartition("/")[2] for url in opened.asked if url.endswith((".avif", ".gif"))] == [
        f"{tour.FILM}-dark.avif"
    ]
    film = opened.locator(".film picture.dark img")
    film.evaluate("film => film.decode()")
    assert film.evaluate("film => film.naturalWidth") == tour.WIDTH
    opened.get_by_text("Close").click()
    assert not film.is_visible()
