"""Sphinx extension: each page as Markdown too, and llms.txt, a list of all pages.

Programs read them, and people without a browser. PAGE.html.md stands beside PAGE.html, as
https://llmstxt.org proposes. It is made from the page's HTML, so that it says the same.
"""

import posixpath
import re
from collections.abc import Set
from pathlib import Path
from typing import Any

from docutils import nodes
from html_to_markdown import convert
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from _ext.page_text import text_of

# What only serves the eye and the mouse.
WITHOUT = re.compile(
    r'<a class="headerlink".*?</a>|<a '
    r'[^>]*class="tested[^"]*".*?</a>|<input\b[^>]*>|<span id="[^"]*"></span>',
    re.DOTALL,
)
CODE = re.compile(
    r'<div class="highlight-(\w+)[^>]*>\s*<div '
    r'class="highlight">(?:<button.*?</button>)?\s*<pre[^>]*>(.*?)</pre>\s*</div>\s*</div>',
    re.DOTALL,
)
TAB = re.compile(r"<label\b[^>]*>(.*?)</label>", re.DOTALL)
SUMMARY = re.compile(
    r"<summary\b[^>]*>\s*(?:<\w+\b[^>]*>)?(?:Show the )?(.)([^<]*).*?</summary>", re.DOTALL
)
LANGUAGES = {"ipython3": "python", "none": "", "text": "", "default": ""}
FORMULA = re.compile(r'<math alttext="([^"]*)"([^>]*)>.*?</math>', re.DOTALL)
LINK = re.compile(r'(<a\b[^>]*?href=")([^":#]+)\.html(?=["#])')


def markdown(body: str, folder: str, pages: Set[str]) -> str:
    """The text of a page in `folder`, from HTML to Markdown.

    A link to one of the `pages` leads to its Markdown.
    """

    def to_markdown(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        return f"{link[0]}.md" if target in pages else link[0]

    body = LINK.sub(to_markdown, WITHOUT.sub("", body))
    body = FORMULA.sub(
        lambda formula: f"$${formula[1]}$$" if "block" in formula[2] else f"${formula[1]}$", body
    )
    body = CODE.sub(_code, body)
    body = SUMMARY.sub(lambda title: f"<p>{title[1].upper()}{title[2].strip()}:</p>", body)
    body = TAB.sub(r"<p><strong>\1</strong></p>", body)
    return (convert(body).content or "").strip() + "\n"


def _code(code: re.Match[str]) -> str:
    """A block of code with its language, without the colours."""
    language = LANGUAGES.get(code[1], code[1])
    text = re.sub("<[^>]+>", "", code[2])
    return f'<pre><code class="language-{language}">{text}</code></pre>'


def write(
    app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Write the Markdown of a page, and give the template its name."""
    if app.builder.name != "html" or doctree is None:
        return
    target = Path(app.outdir, f"{name}.html.md")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        markdown(context["body"], posixpath.dirname(name), app.env.found_docs), encoding="utf-8"
    )
    context["markdown"] = f"{Path(name).name}.html.md"


def write_list(app: Sphinx, error: Exception | None) -> None:
    """Write llms.txt: a sentence about the site, and its pages in the order of the menu."""
    target = Path(app.outdir, "llms.txt")
    if error or app.builder.name != "html" or (app.tags.has("serve") and target.exists()):
        return
    env, site = app.env, app.config.html_baseurl
    root = env.get_doctree(app.config.root_doc)
    lines = [f"# {app.config.project}", "", f"> {text_of(app, app.config.root_doc).about}"]

    def add(page: str, depth: int) -> None:
        lines.append(
            f"{'  ' * depth}- [{env.titles[page].astext()}]({site}{page}.html.md): "
            f"{text_of(app, page).about}"
        )
        for below in env.toctree_includes.get(page, []):
            add(below, depth + 1)

    for menu in root.findall(addnodes.toctree):
        lines += ["", f"## {menu['caption']}", ""]
        for page in menu["includefiles"]:
            add(page, 0)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("html-page-context", write)
    app.connect("build-finished", write_list)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
