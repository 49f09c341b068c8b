"""One visit to the hub, from login to stop, for the guide's screenshots and its film.

It uses the same steps as the tests of the hub. Each view is taken in light and dark colours, before
a click; a ring marks the button that is clicked.
"""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageChops
from playwright.sync_api import Browser, Locator, Page, Playwright

from tools.cluster import hub, jupyter_server
from tools.cluster.hub import FACTS, Visit
from tools.cluster.small_triton import Triton

WIDTH = 1000  # of the window, in pixels
HEIGHT = 680
TALL = 900  # of a narrow window
SCALE = 2  # pixels of a screenshot for each of the window's
MARGIN = 16  # pixels of the window that stay empty below the last thing of a page
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SECONDS = 2  # that the film shows each view
PROFILE = FACTS.profiles[0].name
FOLLOWS_THE_SYSTEM = (
    "~/.jupyter/lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
)
CODE = """import matplotlib.pyplot as plt
plt.figure(figsize=(5, 2))
plt.plot([1, 4, 9, 16]);"""
# What differs in each run: the length of the password, times, and the names of logs.
VARIES = [
    "#password_input",
    "#progress-message",
    ".jp-DirListing-itemModified",
    ".jp-DirListing-item:has-text('.log')",
    "#jp-main-statusbar",  # memory and processor
]
RING = """box => {
    const ring = document.body.appendChild(document.createElement("div"));
    ring.style = `
        position: fixed; z-index: 99999; pointer-events: none; box-sizing: border-box;
        border: 3px solid #d6246e; border-radius: 12px;
        box-shadow: 0 0 0 2px #fff, inset 0 0 0 2px #fff;
        left: ${box.x - 8}px; top: ${box.y - 8}px;
        width: ${box.width + 16}px; height: ${box.height + 16}px`;
    ring.id = "ring";
}"""
# Writes another name for the user, for example `username` as in the guide's commands.
CALL = """([name, other]) => {
    for (const place of document.querySelectorAll("#username_input, #login_widget span")) {
        const text = "value" in place ? "value" : "textContent";
        if (place[text] === name) place[text] = other;
    }
}"""
HAS_COLOURS = (
    "dark => (document.body.dataset.jpThemeLight ?? "
    "String(document.documentElement.dataset.bsTheme !== 'dark')) === String(!dark)"
)

# {screenshot: the name of its view}
STILLS = {
    "hub-log-in": "Sign in",
    "hub-profiles": "Start",
    "hub-waits": "pending",
    "hub-jupyterlab": "home",
    "hub-stop": "Stop My Server",
}
FILM = "jupyter_demo"
# {view: the width of the window of its screenshot}, so that it can be read on a phone
NARROW = {"Sign in": 440, "Start": 640, "pending": 640, "Stop My Server": 640}


Box = tuple[int, int, int, int]  # left, top, right and bottom, in pixels of a screenshot


@dataclass
class Shots:
    """A page in light and dark colours."""

    images: dict[str, Image.Image]  # by colour scheme
    varies: list[Box]  # the parts that differ in each run


@dataclass
class View:
    """A page before a click."""

    name: str  # the text of the button, or a word for the page
    clicks: bool
    film: Shots
    still: Shots  # without what is empty below the page
    says: str  # the text of the page


def still(page: Page, most: int = 20) -> Image.Image:
    """A screenshot of the page when nothing moves any more, or the last of `most`."""
    before = None
    for _ in range(most):
        now = page.screenshot(animations="disabled")
        if now == before:
            break
        before = now
        page.wait_for_timeout(300)
    return Image.open(io.BytesIO(now)).convert("RGB")


class Camera:
    """Takes the views of a visit by `user`, who is called username in them."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.views: list[View] = []

    def looks(self, target: Locator) -> None:
        """Take a view with a ring around `target`; see hub.Window."""
        name = target.evaluate("element => element.innerText || element.value")
        self.take(" ".join(name.split()), target.page, target)

    def take(self, name: str, page: Page, target: Locator | None = None) -> None:
        """Take a view of `page`, with a ring around `target` if there is one."""
        words = " ".join(page.locator("body").inner_text().split())
        page.evaluate(CALL, [self.user, "username"])
        wide = narrow = _shots(page, target)
        if name in NARROW:
            page.set_viewport_size({"width": NARROW[name], "height": TALL})
            narrow = _shots(page, target)
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.evaluate(CALL, ["username", self.user])
        whole = {scheme: cropped(image) for scheme, image in narrow.images.items()}
        self.views.append(View(name, bool(target), wide, Shots(whole, narrow.varies), words))


def _shots(page: Page, target: Locator | None) -> Shots:
    """The page as its window shows it, with a ring around `target` if there is one."""
    if target:
        target.scroll_into_view_if_needed()
        still(page)  # late content would move the target away from the ring
        page.evaluate(RING, target.bounding_box())
    images: dict[str, Image.Image] = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(HAS_COLOURS, arg=scheme == "dark")
        images[scheme] = still(page)
    boxes = [box for selector in VARIES for box in _boxes(page.locator(selector))]
    if target:
        page.evaluate("document.getElementById('ring').remove()")
    return Shots(images, boxes)


def _boxes(locator: Locator) -> Iterator[Box]:
    """The boxes of the visible elements of `locator` on a screenshot."""
    for element in locator.all():
        if box := element.bounding_box():
            yield (
                round(SCALE * box["x"]),
                round(SCALE * box["y"]),
                round(SCALE * (box["x"] + box["width"])),
                round(SCALE * (box["y"] + box["height"])),
            )


@contextlib.contextmanager
def chromium(triton: Triton, playwright: Playwright) -> Iterator[Browser]:
    """A browser on the laptop, and the hub running."""
    hub.running(triton)
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyter_server.browser(playwright, triton, Path(folder)) as browser,
    ):
        yield browser


def go(triton: Triton, user: str, browser: Browser) -> list[View]:
    """The views of a visit, on a cluster whose nodes are busy at first."""
    camera = Camera(user)
    visit = Visit(
        triton,
        user,
        browser,
        viewport={"width": WIDTH, "height": HEIGHT},
        device_scale_factor=SCALE,
    )
    visit.looks = camera.looks
    triton.run("login", f"mkdir -p $(dirname {FOLLOWS_THE_SYSTEM})", user)
    triton.write("login", FOLLOWS_THE_SYSTEM, '{"adaptive-theme": true}', user)
    others = triton.busy()
    try:
        visit.log_in()
        visit.choose(PROFILE)
        visit.page.locator("#spawn_form tbody tr").evaluate_all(
            f"rows => rows.slice({len(FACTS.profiles)}).forEach(row => row.remove())"
        )  # hide the profiles that are for tests
        visit.press_start()
        visit.waits_for(re.compile(f"{hub.PENDING.pattern}.* at the latest"))
        camera.take("pending", visit.page)
        triton.run("login", f"scancel {others}")
        visit.arrive()
        lab = visit.lab
        lab.go_into("home")
        lab.new_notebook("Python 3")
        lab.write(CODE)
        camera.take("code", visit.page)
        lab.run_cell()
        lab.output()
        lab.idle()  # the status bar is a moment late
        camera.take("output", visit.page)
        visit.to_the_control_panel()
        visit.stop_my_server()
        camera.take("stopped", visit.page)
    finally:
        triton.run("login", f"scancel {others}; scancel --user={user}")
        visit.close()
    return camera.views


def film(views: Sequence[View], scheme: str, format: str, **options: Any) -> bytes:
    """An animated picture of the views, with one pixel for each pixel of the window."""
    frames = [view.film.images[scheme].reduce(SCALE) for view in views]
    if format == "GIF":
        frames = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    out = io.BytesIO()
    frames[0].save(
        out,
        format,
        save_all=True,
        append_images=frames[1:],
        duration=1000 * SECONDS,
        loop=0,
        **options,
    )
    return out.getvalue()


def cropped(image: Image.Image) -> Image.Image:
    """The screenshot without what is empty at its end, but for a margin."""
    width, height = image.size
    below = Image.new("RGB", image.size, image.getpixel((width // 2, height - 1)))
    box = ImageChops.difference(image, below).getbbox()
    end = box[3] + MARGIN * SCALE if box else height
    return image.crop((0, 0, width, min(end, height)))


def webp(image: Image.Image) -> bytes:
    """The image as a WebP file, without loss."""
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True, method=6)
    return out.getvalue()


def files(views: Sequence[View]) -> dict[str, bytes]:
    """{name: content} of the files that are made of the views."""
    by_name = {view.name: view for view in views}
    contents = {f"{FILM}.gif": film(views, "light", "GIF", optimize=True)}
    for scheme in SCHEMES:
        contents[f"{FILM}-{scheme}.avif"] = film(
            views, scheme, "AVIF", quality=75, subsampling="4:4:4"
        )
        contents |= {
            f"{still}-{scheme}.webp": webp(by_name[name].still.images[scheme])
            for still, name in STILLS.items()
        }
    return contents
