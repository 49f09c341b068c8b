"""Sphinx extension: pages that load little and that everybody can use: on a phone, by keyboard,
with a screen reader, in dark colours.

Each page has one style sheet and one script, which hold only what this page needs. The theme's
style sheet stands in a layer below ours, so that our rules win, and loads no web fonts. What
scrolls sideways can be reached by keyboard.

`frontend_repository`, `frontend_branch`: the repository where people edit the pages, on GitHub,
Gitea or GitLab. `frontend_hosts`: the label of a console block, by the host in its first prompt.
"""

import functools
import hashlib
import itertools
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlparse

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata

OURS = Path(__file__).parent
WEB_FONT = re.compile(r"@font-face\s*{[^}]*}")
# The theme draws icons with letters of its icon font, which we do not load. ICON_RULE is a rule
# that draws an icon, ICON what names the font or a letter of it.
ICON_RULE = re.compile(r'[^{}]*{content:"(?:\\[ef][0-9a-f]{3}|[\ue000-\uf8ff])"}')
ICON = re.compile(
    r'content:"(?:\\[ef][0-9a-f]{3}|[\ue000-\uf8ff])";?|font(?:-family)?:[^;{}]*FontAwesome;?'
)
PROMPT = re.compile(r'<span class="gp">\w+@([\w-]+):')
# Files that only some pages need: a part of the file's name, and the HTML that needs it.
WHERE = {
    "mystnb": 'class="cell',
    "copybutton": 'class="highlight',
    "clipboard": 'class="highlight',
    "design": 'class="sd-',
    "present": 'class="notebook-facts',
    "formulas": "<math ",
}
Menus = dict[tuple[str, str], str]  # {(the page above, the folder): the list of all pages}
Pieces = dict[str, str]  # {path of a style sheet or script: its text}
# The current page in the list of all pages.
CURRENT = r'<li class="(toctree-l\d) current"><a class="current reference internal" href="#">'
# Files that no page needs, since templates/ and static/guide.js do not use them.
NEVER = (
    "jquery",
    "javascript_frameworks",
    "doctools",
    "sphinx_highlight",
    "pygments",
    "searchtools",
    "language_data",
)


def wanted(path: str, body: str) -> bool:
    """Whether a page with this `body` needs the style sheet or script at `path`."""
    name = Path(path).name
    return not any(part in name for part in NEVER) and all(
        need in body for part, need in WHERE.items() if part in name
    )


def source(app: Sphinx, path: str) -> Traversable:
    """The file for `path` of the site; that of myst-nb is in its package until the build ends."""
    there = Path(app.outdir) / path
    if there.exists() or "mystnb" not in there.name:
        return there
    return files("myst_nb.static") / "mystnb.css"


def piece(app: Sphinx, path: str) -> str:
    """The text of the style sheet or script at `path`.

    A style sheet is without web fonts. One that is not ours stands in the layer of the theme.
    """
    text = source(app, path).read_text(encoding="utf-8")
    if not path.endswith(".css"):
        return text
    for unused in (WEB_FONT, ICON_RULE, ICON):
        text = unused.sub("", text)
    return text if "guide" in path else f"@layer theme {{ {text} }}"


def bundle(app: Sphinx, paths: Iterable[str], suffix: str, pieces: Pieces) -> str:
    """Write the files `paths` as one file, named by a hash of its content; return its path.

    pieces: a cache of their texts.
    """
    texts = []
    for path in paths:
        path = path.split("?")[0]
        path = path if path.startswith("_static/") else f"_static/{path}"
        if path not in pieces:
            pieces[path] = piece(app, path)
        texts.append(pieces[path])
    whole = "\n".join(texts).encode()
    target = Path(app.outdir) / f"_static/page-{hashlib.sha256(whole).hexdigest()[:10]}.{suffix}"
    if not target.exists():
        new = target.with_suffix(f".{os.getpid()}")  # several processes may write pages
        new.write_bytes(whole)
        new.replace(target)
    return target.relative_to(app.outdir).as_posix()


def as_cards(table: str) -> str:
    """The HTML of a table; a small screen shows each row of three columns or more as a card.

    Each cell then says what its column is called.
    """
    head, end, body = table.partition("</thead>")
    names = [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall(r"(?s)<th\b.*?</th>", head)]
    if len(names) < 3 or "docutils" not in head or re.search("(?:col|row)span", table):
        return table
    column = itertools.cycle(names)
    body = re.sub(r"<t[dh]\b", lambda cell: f'{cell[0]} data-head="{next(column)}"', body)
    return head.replace('class="docutils', 'class="cards docutils', 1) + end + body


def usable(body: str, hosts: dict[str, str]) -> str:
    """The HTML of a page's text with names and keyboard access for what scrolls."""
    number = itertools.count(1)
    body = re.sub(
        r"<table\b.*?</table>",
        lambda table: (
            '<div class="wide" tabindex="0" role="region" aria-label="Table '
            f'{next(number)}">{as_cards(table[0])}</div>'
        ),
        body,
        flags=re.DOTALL,
    )
    body = body.replace("<pre>", '<pre tabindex="0">').replace(
        ' role="heading"', ""
    )  # a heading would need a level
    # A summary needs no label beside its text, and may hold no paragraphs.
    body = re.sub(
        r"<summary[^>]*>.*?</summary>",
        lambda summary: (
            re.sub(r' aria-label="[^"]*"', "", summary[0])
            .replace("<p ", "<span ")
            .replace("</p>", "</span>")
        ),
        body,
        flags=re.DOTALL,
    )

    def labelled(match: re.Match[str]) -> str:
        prompt = PROMPT.search(match[0])
        return (
            match[0].replace("<div", f'<div data-on="{hosts[prompt[1]]}"', 1)
            if prompt and prompt[1] in hosts
            else match[0]
        )

    return re.sub(r'<div class="highlight-console.*?</pre>', labelled, body, flags=re.DOTALL)


def sized(app: Sphinx, match: re.Match[str]) -> str:
    """An <img> with its size, so that the text below does not jump, and with lazy loading.

    A WebP picture has two pixels for each of the page, and gets a JPEG for browsers that do not
    know WebP.
    """
    tag, address = match[0], match[1]
    folder, _, name = address.rpartition("/")
    tag = tag.replace("<img", '<img loading="lazy" decoding="async"')
    source = next((path for path, copied in app.builder.images.items() if copied == name), None)
    if not source or name.endswith(".svg"):
        return tag
    with Image.open(Path(app.srcdir, source)) as image:
        if "width=" not in tag and "height=" not in tag:
            width, height = (side // (1 + name.endswith(".webp")) for side in image.size)
            tag = tag.replace("<img", f'<img width="{width}" height="{height}"')
        if not name.endswith(".webp"):
            return tag
        plain = Path(name).with_suffix(".jpg").name
        (Path(app.outdir) / app.builder.imagedir).mkdir(exist_ok=True)
        image.convert("RGB").save(Path(app.outdir, app.builder.imagedir, plain), quality=85)
    return (
        f'<picture><source srcset="{address}" type="image/webp" '
        f"/>{tag.replace(address, f'{folder}/{plain}')}</picture>"
    )


def menu(
    app: Sphinx, menus: Menus, name: str, render: Callable[..., str], **options: object
) -> str:
    """The list of all pages for the page `name`, as Sphinx makes it with `render(**options)`.

    Sphinx makes one list for each page, which is slow for a thousand pages. Pages in one folder
    below one page share a list in `menus`: only the mark of the current page differs.
    """
    assert isinstance(app.builder, StandaloneHTMLBuilder)
    parent = app.builder.relations.get(name, [None])[0]
    if parent is None or name in app.env.toctree_includes:
        return render(**options)
    place = (parent, posixpath.dirname(name))
    uri = posixpath.basename(app.builder.get_target_uri(name))
    if place not in menus:
        text = render(**options)
        menus[place] = re.sub(
            CURRENT, rf'<li class="\1"><a class="reference internal" href="{uri}">', text
        )
        return text
    text, count = re.subn(
        rf'<li class="(toctree-l\d)"><a class="reference internal" href="{re.escape(uri)}">',
        r'<li class="\1 current"><a class="current reference internal" href="#">',
        menus[place],
    )
    return text if count == 1 else render(**options)


def edit_address(repository: str, branch: str, path: str) -> str:
    """The address at which people edit the file `path` of a repository in the browser."""
    host = urlparse(repository).hostname or ""
    form = (
        "edit"
        if "github" in host
        else "_edit"
        if re.search("gitea|forgejo|codeberg", host)
        else "-/edit"
    )
    return (
        f"{repository.removesuffix('/').removesuffix('.git')}/{form}/{quote(branch)}/{quote(path)}"
    )


def edited(app: Sphinx, name: str) -> str:
    """The address at which people edit the source of a page; "" for a page without one.

    The source of a notebook is its half NAME.md.
    """
    if name not in app.env.found_docs or not app.config.frontend_repository:
        return ""
    path = Path(app.env.doc2path(name))
    text = path.with_suffix(".md")
    source = text if path.suffix == ".ipynb" and text.exists() else path
    return edit_address(
        app.config.frontend_repository,
        app.config.frontend_branch,
        source.relative_to(app.srcdir).as_posix(),
    )


def complete(
    app: Sphinx,
    name: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
    menus: Menus,
    pieces: Pieces,
) -> None:
    """Give the templates the page's style sheet, its script, its source and the list of pages."""
    if app.builder.format != "html":
        return
    body = usable(context.get("body", ""), app.config.frontend_hosts)
    body = context["body"] = re.sub(
        r'<img\b[^>]*?src="([^"]*)"[^>]*>', lambda match: sized(app, match), body
    )
    for kind, suffix in (("css", "css"), ("script", "js")):
        paths = [str(getattr(file, "filename", file)) for file in context[f"{kind}_files"]]
        context[f"frontend_{suffix}"] = bundle(
            app, [path for path in paths if wanted(path, body)], suffix, pieces
        )
    context["edit"] = edited(app, name)
    context["toctree"] = functools.partial(menu, app, menus, name, context["toctree"])


def tidy(app: Sphinx, error: Exception | None) -> None:
    """Remove the fonts from the site: no page loads them."""
    if not error and app.builder.format == "html":
        for fonts in ("_static/fonts", "_static/css/fonts"):
            shutil.rmtree(Path(app.outdir) / fonts, ignore_errors=True)


def _permalink(app: Sphinx) -> None:
    # The theme overrides conf.py here with a letter of its icon font.
    app.config.html_permalinks_icon = "#"


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_config_value("frontend_hosts", {}, "html")
    app.add_config_value("frontend_repository", "", "html")
    app.add_config_value("frontend_branch", "main", "html")
    app.config.templates_path.append(str(OURS / "templates"))
    menus: Menus = {}
    pieces: Pieces = {}

    def forget(app: Sphinx, env: BuildEnvironment) -> None:
        menus.clear()
        pieces.clear()

    app.connect("builder-inited", _permalink)
    app.connect("env-updated", forget)
    finish = functools.partial(complete, menus=menus, pieces=pieces)
    app.connect("html-page-context", finish, priority=900)
    app.connect("build-finished", tidy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
