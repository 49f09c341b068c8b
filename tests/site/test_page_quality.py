"""Pages load fast and are readable and usable: on a phone, by keyboard, with a screen reader, and
in the dark. The tests open each type of page in a browser.
"""

import gzip
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tools.browser import needs_chromium
from tools.files import ROOT
from tools.page_quality import KILOBYTES, REQUESTS, TYPES
from tools.site import html_pages
from triton.lib import clusterfacts

pytestmark = needs_chromium


@pytest.mark.parametrize("name", TYPES)
def test_the_first_view_is_light_and_asks_no_other_host(name, page, site):
    opened = page(name.partition("?")[0])
    opened.wait_for_load_state("networkidle")
    assert opened.faults == []
    own = [
        Path(site, urlparse(url).path.lstrip("/"))
        for url in opened.asked
        if not url.startswith("data:")
    ]
    size = sum(
        len(
            path.read_bytes()
            if path.suffix in (".png", ".webp")
            else gzip.compress(path.read_bytes())
        )
        for path in own
        if path.is_file()
    )
    assert len(own) <= REQUESTS and 5_000 < size < KILOBYTES * 1000, (
        size,
        [path.name for path in own],
    )
    kinds = {path.suffix for path in own}
    assert not kinds & {".woff", ".woff2", ".ttf"}, "a web font is loaded"
    assert ".pagefind" not in kinds or name.startswith("search.html"), "the search is loaded"


# The rules that look at what is painted. A page that keeps the others in one width and scheme
# keeps them in all.
PAINTED = ["color-contrast", "link-in-text-block", "scrollable-region-focusable"]


def violations(opened, *rules):
    """(rule, element, remedy) for each violation that axe finds on an open page; of all rules, or
    of these.
    """
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    faults = Axe().run(opened, options=options).response["violations"]
    return [
        (fault["id"], node["html"][:150], node["failureSummary"][:250])
        for fault in faults
        for node in fault["nodes"][:3]
    ]


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("name", TYPES)
def test_axe_finds_no_violation(name, width, page):
    """In the dark only the colours are others, at once where nothing may move."""
    opened = page(name, width, color_scheme="light", reduced_motion="reduce")
    opened.wait_for_load_state("networkidle")
    for label in opened.locator(".sd-tab-set > label").all():
        label.click()
    if width < 800:
        opened.get_by_role("button", name="Menu").click()
    assert violations(opened) == []
    opened.emulate_media(color_scheme="dark")
    assert violations(opened, *PAINTED) == []


@pytest.mark.parametrize(
    ("width", "scheme", "rules"), [(1280, "dark", []), (320, "light", PAINTED)]
)
def test_axe_finds_nothing_on_any_other_page_either(width, scheme, rules, page, site):
    """Only code and tables scroll sideways."""
    opened, problems = page("index.html", width, color_scheme=scheme), []
    top = opened.url.removesuffix("/index.html")
    for name in sorted(path.relative_to(site).as_posix() for path in html_pages(site)):
        opened.goto(f"{top}/{name}", wait_until="load")
        if opened.evaluate("document.documentElement.scrollWidth") > width:
            problems.append((name, "it scrolls sideways"))
        found = violations(opened, *rules) if name not in TYPES else ()
        problems += [(name, *fault) for fault in found]
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_plot_has_white_paper_on_light_and_on_dark_pages(scheme, page):
    plots = page("notebooks/07-measure.html", color_scheme=scheme).locator(".cell_output img")
    assert plots.count() and {
        plot.evaluate("plot => getComputedStyle(plot).backgroundColor") for plot in plots.all()
    } == {"rgb(255, 255, 255)"}


def test_no_file_draws_a_letter_of_a_font_that_is_not_loaded(site):
    """Icon fonts use the private use areas of Unicode. No page, style sheet or script of this site
    has a character from there.
    """
    private = re.compile(
        r"[\ue000-\uf8ff\U000f0000-\U0010ffff]|\\[ef][0-9a-f]{3}\b|&#x[ef][0-9a-f]{3};"
        r"|family:[^;}]*FontAwesome",
        re.IGNORECASE,
    )
    files = [
        *html_pages(site),
        *site.glob("_static/page-*.*"),
        *site.glob("course/slides/**/*.css"),
    ]
    wrong = [
        (
            path.relative_to(site).as_posix(),
            path.read_text(encoding="utf-8")[match.start() - 60 : match.end()],
        )
        for path in files
        for match in [private.search(path.read_text(encoding="utf-8"))]
        if match
    ]
    assert len(files) > 40 and not wrong, wrong


@pytest.mark.parametrize("name", TYPES[1:5])
def test_each_sign_before_or_behind_an_element_can_be_read(name, page):
    """The signs are those that a browser draws with ::before and ::after, and the permalink that a
    heading shows under the mouse.
    """
    opened = page(name)
    drawn = opened.evaluate("""() => [...document.querySelectorAll("*")].flatMap(element =>
        ["::before", "::after", "::marker"]
            .map(place => getComputedStyle(element, place).content)
            .filter(content => !["none", "normal"].includes(content))
            .filter(content => /[\\ue000-\\uf8ff]/.test(content))
            .map(content => `${element.className} ${content}`))""")
    assert drawn == []
    heading = opened.locator("h1").first
    heading.hover()
    link = heading.locator("a.headerlink")
    assert (
        link.inner_text() == "#" and link.evaluate("link => getComputedStyle(link).opacity") == "1"
    )
    assert "FontAwesome" not in link.evaluate("link => getComputedStyle(link).fontFamily")


@pytest.mark.parametrize("name", TYPES)
def test_nothing_jumps_while_a_page_loads(name, page):
    opened = page(name, 390)
    opened.wait_for_load_state("networkidle")
    moved = opened.evaluate("""() => new Promise(done => {
        let sum = 0;
        new PerformanceObserver(list => {
            for (const entry of list.getEntries()) sum += entry.value;
        }).observe({type: "layout-shift", buffered: true});
        setTimeout(() => done(sum), 300);
    })""")
    assert moved < 0.02


def colour(opened, what="background-color"):
    return opened.evaluate("what => getComputedStyle(document.body).getPropertyValue(what)", what)


def test_the_switch_of_light_and_dark_is_remembered_early(page):
    """The browser applies it before it paints anything."""
    opened = page("index.html", color_scheme="light")
    light = colour(opened)
    opened.get_by_role("button", name="Light or dark colours").click()
    dark = colour(opened)
    assert dark != light
    opened.get_by_role("link", name="Storage").first.click()
    opened.wait_for_url("**/storage.html")
    assert colour(opened) == dark
    head = opened.content().partition("</head>")[0]
    assert head.index("localStorage.theme") < head.index('rel="stylesheet"'), (
        "the page is painted in the other colours first"
    )
    opened.get_by_role("button", name="Light or dark colours").click()
    assert colour(opened) == light
    assert colour(page("index.html", color_scheme="dark")) == dark, (
        "without a choice, the page has not the colours of the system"
    )


def test_the_keyboard_leads_to_the_text_the_menu_and_the_search(page):
    opened = page("triton/apps/jupyter/faq.html", 390)
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the text"
    opened.keyboard.press("Enter")
    opened.wait_for_function("document.activeElement.id === 'main'")
    menu = opened.get_by_role("button", name="Menu")
    menu.focus()
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", (
        "the focus is not visible"
    )
    assert not opened.locator("#menu").is_visible()
    opened.keyboard.press("Enter")
    assert opened.locator("#menu").is_visible() and menu.get_attribute("aria-expanded") == "true"
    opened.locator("#main").focus()
    opened.keyboard.press("/")
    assert opened.evaluate("document.activeElement.id") == "q"


def test_a_chosen_tab_is_chosen_on_the_next_page_too(page):
    opened = page("triton/apps/jupyter/connecting.html")
    label = opened.locator(".sd-tab-set > label").nth(1)
    chosen = label.inner_text()
    label.click()
    opened.reload()
    assert opened.locator(".sd-tab-set > input:checked + label").first.inner_text() == chosen


def test_the_sections_of_a_page_follow_the_reader(page):
    opened = page("triton/apps/jupyter/faq.html#faq-died")
    here = opened.locator("#sections [aria-current=location]")
    opened.wait_for_function("document.querySelector('#sections [aria-current]').hash.length > 1")
    assert here.inner_text() == "My server or kernel died" and here.is_visible()
    opened.set_viewport_size({"width": 390, "height": 844})
    assert not here.is_visible()
    opened.get_by_role("button", name="On this page").click()
    assert here.is_visible()


def test_on_a_phone_a_wide_table_is_a_list_of_cards(page):
    """Each cell says what its column is called, and none is beyond the edge."""
    opened = page("triton/apps/jupyter/hub.html", 390)
    last = opened.locator("table.cards td").filter(has_text="stopped after").first
    assert last.evaluate("cell => getComputedStyle(cell, '::before').content") in (
        '"When unused" ": "',
        '"When unused: "',
    )
    box = last.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_on_a_phone_the_search_stays_in_sight(page):
    opened = page("triton/apps/jupyter/faq.html", 390)
    opened.mouse.wheel(0, 3000)
    opened.wait_for_function("scrollY > 2000")
    assert 0 <= opened.get_by_role("combobox").bounding_box()["y"] < 100
    opened.get_by_role("link", name="Back to the top").click()
    opened.wait_for_function("scrollY === 0")


def test_the_way_to_the_top_comes_when_the_reader_is_down(page):
    """At the beginning of a page its button would cover text."""
    opened = page("triton/apps/jupyter/faq.html", 390)
    seen = "button => button.getBoundingClientRect().y < innerHeight"
    button = opened.get_by_role("link", name="Back to the top")
    assert not button.evaluate(seen)
    opened.mouse.wheel(0, 3000)
    opened.wait_for_function("scrollY > 2000")
    assert button.evaluate(seen)


def test_a_page_without_sections_stands_in_the_middle(page):
    opened = page("notebooks/index.html", 1680)
    text, menu = (opened.locator(part).bounding_box() for part in (".page", ".side"))
    left = text["x"] - menu["width"]
    right = opened.evaluate("document.documentElement.clientWidth") - text["x"] - text["width"]
    assert left > 100 and abs(left - right) < 2


def test_the_front_leads_where_most_people_go(page):
    opened = page("index.html", 390)
    facts = clusterfacts.load(ROOT / "triton/facts.toml")
    button = opened.get_by_role("link", name="Open Jupyter")
    assert button.get_attribute("href") == f"https://{facts.hosts.hub}"
    assert button.bounding_box()["y"] < 500
    for card in opened.locator("ul.cards > li").all():
        with opened.context.expect_page() as there:
            card.click(modifiers=["Control"], position={"x": 10, "y": 10})
        assert there.value.locator("h1").inner_text()
    assert opened.locator("ul.cards > li").count() == 6
    assert not opened.locator("main .toctree-wrapper a").count()


def test_an_address_with_a_mistake_leads_to_its_page(page, site):
    """A server shows 404.html at the address that does not exist."""
    opened = page("index.html")
    opened.route("**/sjupiter.html", lambda route: route.fulfill(path=site / "404.html"))
    opened.goto(opened.url.replace("index.html", "triton/apps/sjupiter.html"))
    likely = opened.locator("#likely a").first
    assert likely.inner_text() == "sjupyter"
    likely.click()
    opened.get_by_role("heading", name="sjupyter", level=1).wait_for()
    opened.route("**/jupyterhub", lambda route: route.fulfill(path=site / "404.html"))
    opened.goto(opened.url.replace("triton/apps/jupyter/sjupyter.html", "jupyterhub"))
    assert opened.locator("#likely a").first.inner_text() == "JupyterHub"


def test_a_command_says_on_which_computer_it_is_typed(page):
    opened = page("triton/apps/jupyter/connecting.html")
    for host, words in (("laptop", "your computer"), ("outside", "your computer, elsewhere")):
        block = opened.locator(".highlight-console", has_text=f"username@{host}:").first
        assert block.get_attribute("data-on") == words and words in block.evaluate(
            "block => getComputedStyle(block, '::before').content"
        )


def test_without_scripts_the_text_and_the_menu_are_there(page):
    opened = page("triton/apps/jupyter/faq.html", 390, java_script_enabled=False)
    assert (
        opened.locator("#menu").is_visible()
        and opened.get_by_role("heading", name="My server or kernel died").is_visible()
    )


def test_on_paper_there_is_the_text_alone(page):
    opened = page("triton/apps/jupyter/connecting.html", color_scheme="dark")
    opened.emulate_media(media="print", color_scheme="dark")
    for gone in (".side", ".turn", ".skip", ".here", ".up"):
        assert not opened.locator(gone).first.is_visible(), gone
    assert opened.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"


def test_the_report_of_a_fault_names_page_and_section(page):
    opened = page("triton/apps/jupyter/faq.html#my-server-or-kernel-died")
    opened.wait_for_function(
        "looked.size && [...looked].sort((one, other) => other[1] - one[1])[0][0] === "
        "'my-server-or-kernel-died'"
    )  # the page checks twice a second
    opened.evaluate(
        "document.getElementById('report').addEventListener('click', event => "
        "event.preventDefault())"
    )
    opened.locator("#report").dispatch_event("click")
    address = unquote(opened.locator("#report").get_attribute("href"))
    site = clusterfacts.load(ROOT / "triton/facts.toml").site
    assert address.startswith(site.issues + site.report.partition("{")[0])
    for line in (
        f"Page: {site.url}triton/apps/jupyter/faq.html",
        "Section: #my-server-or-kernel-died",
        "Last proof: ",
    ):
        assert line in address, address
