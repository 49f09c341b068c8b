"""Sphinx extension: notebooks that run in the reader's browser.

A build copies JupyterLite into the site, with the notebooks that can run there. The directive
`in-browser` says for each notebook whether it runs, and what it lacks. Without JupyterLite, pages
have no button, and the directive says so.

`lite_app`: the folder with JupyterLite. `course_in_browser`: the module that knows which notebooks
run; see `InBrowser`. `lite_packages` is read from the folder; conf.py does not set it.
"""

import shutil
from pathlib import Path
from typing import Protocol

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from _ext.classroom import Notebook, course_of


class Edition(Protocol):
    """The edition of a notebook for the browser."""

    lacks: set[str]  # what the notebook needs and the browser lacks; empty if it runs
    pictured: set[str]  # what single cells need and lack: a picture of their output is shown

    @property
    def title(self) -> str:
        """The heading of the notebook."""


class InBrowser(Protocol):
    """What `course_in_browser` offers."""

    FOLDER: str  # of the site

    def packages(self, app: Path) -> list[str] | None:
        """The modules in the folder `lite_app`, beside Python's own; None if it is not there."""

    def edition(self, notebook: Notebook, site: str, have: set[str]) -> Edition:
        """The edition of a notebook for a browser that has the modules `have`."""

    def files(self, site: str, have: set[str]) -> dict[str, str | bytes]:
        """{path: text or bytes} of the notebooks that run with the modules `have`, and of data."""


def in_browser_of(config: Config) -> InBrowser:
    offered: InBrowser = config.course_in_browser
    return offered


def address(config: Config, name: str, notebook: Notebook) -> str | None:
    """The path in the site at which the notebook runs in the browser; None if it does not run."""
    have, offered = config.lite_packages, in_browser_of(config)
    if have is None or offered.edition(notebook, config.html_baseurl, set(have)).lacks:
        return None
    return f"{offered.FOLDER}/notebooks/index.html?path={name}.ipynb"


def _publish(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    config, offered = app.config, in_browser_of(app.config)
    target = Path(app.outdir, offered.FOLDER)
    shutil.rmtree(target, ignore_errors=True)
    if config.lite_packages is not None:
        shutil.copytree(Path(app.confdir, config.lite_app), target)
        files = offered.files(config.html_baseurl, set(config.lite_packages))
        course_of(config).write(target, files)


class InBrowserTable(SphinxDirective):
    """A table: whether each notebook runs in the browser, and what it lacks.

    The directive's content stands above the table, and only where there is one.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        if self.config.lite_packages is None:
            return [
                nodes.admonition(
                    "",
                    nodes.title("", "Not here"),
                    nodes.paragraph(
                        "",
                        "This copy of the guide was built without it. The end of this page "
                        "names other ways.",
                    ),
                    classes=["warning"],
                )
            ]
        course = course_of(self.config)
        body = nodes.tbody()
        for name, notebook in course.load().items():
            self.env.note_dependency(str(course.NOTEBOOKS / f"{name}.ipynb"))
            body += self._row(name, notebook)
        head = nodes.thead("", _cells(_text("Notebook"), _text("In the browser")))
        widths = [nodes.colspec(colwidth=width) for width in (35, 65)]
        table = nodes.table("", nodes.tgroup("", *widths, head, body, cols=2))
        return [*self.parse_content_to_nodes(), table]

    def _row(self, name: str, notebook: Notebook) -> nodes.row:
        edition = in_browser_of(self.config).edition(notebook, "", set(self.config.lite_packages))
        where = address(self.config, name, notebook)
        if where is None:
            return _cells(
                _text(edition.title), _text(f"no: it needs {', '.join(sorted(edition.lacks))}")
            )
        up = "../" * self.env.docname.count("/")
        text = nodes.paragraph()
        text += nodes.reference("", "Run it", refuri=up + where, internal=True)
        if edition.pictured:
            needs = ", ".join(sorted(edition.pictured))
            text += nodes.Text(f"; what needs {needs} is a picture there")
        return _cells(_text(edition.title), text)


def _text(text: str) -> nodes.paragraph:
    return nodes.paragraph("", text)


def _cells(*paragraphs: nodes.paragraph) -> nodes.row:
    return nodes.row("", *(nodes.entry("", paragraph) for paragraph in paragraphs))


def _read_packages(app: Sphinx, config: Config) -> None:
    config.lite_packages = in_browser_of(config).packages(Path(app.confdir, config.lite_app))


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_config_value("lite_app", ".lite/app", "env")
    app.add_config_value("course_in_browser", None, "")
    # Sphinx reads all pages again when JupyterLite is added or removed.
    app.add_config_value("lite_packages", None, "env")
    app.add_directive("in-browser", InBrowserTable)
    app.connect("config-inited", _read_packages)
    app.connect("build-finished", _publish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
