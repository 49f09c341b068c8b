"""Sphinx configuration of the guide; `make html` builds with it.

Every name and address comes from triton/facts.toml.
"""

import functools
import os
import sys
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from sphinx.errors import ConfigError

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))
from _ext import books  # noqa: E402
from _ext.classroom import Course  # noqa: E402
from _ext.in_browser import InBrowser  # noqa: E402
from tools import git  # noqa: E402
from tools.course import editions, in_browser, pairs  # noqa: E402
from triton.lib import clusterfacts  # noqa: E402


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


# A hook of git may build the site; the dates of the pages are of this repository.
for _variable in git.CHOOSE_A_REPOSITORY:
    os.environ.pop(_variable, None)

try:
    _facts = clusterfacts.load(ROOT / "triton/facts.toml")
except clusterfacts.FactsError as error:
    raise ConfigError(str(error)) from None

project = f"Jupyter on {_facts.cluster.name}"
author = f"{_facts.cluster.university} Science-IT and contributors"
copyright = f"{author}, CC BY 4.0"
language = "en"

extensions = [
    "_ext.facts",
    "_ext.notebook_facts",
    "_ext.classroom",
    "_ext.in_browser",
    "_ext.proof",
    "_ext.formulas",
    "_ext.roles",
    "_ext.frontend",
    "_ext.page_text",
    "_ext.screenshots",
    "_ext.site_search",
    "_ext.plain",
    "_ext.books",
    "myst_nb",
    "notfound.extension",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_last_updated_by_git",
    "sphinx_reredirects",
    "sphinx_sitemap",
    "sphinxext.opengraph",
]
facts = _facts.in_words()
facts_file = "triton/facts.toml"
facts_optional = clusterfacts.OPTIONAL
proof_exceptions = {
    "Code that is shown and not run": "tools/proof/console_blocks.toml",
    "Words that are compared with nothing": "tools/proof/elsewhere.toml",
    "Programs of which the small cluster has only a stand-in": "tools/cluster/stand-ins.toml",
}
nitpicky = True

# Only the folders of the guide are read, and of a notebook pair only the half with the outputs.
# An environment, `.venv`, is not even looked through: that takes longer than all the pages.
include_patterns = ["index.rst", "about/**", "triton/**", "scicomp/**", "notebooks/**"]
exclude_patterns = [".*", "_build", "about/page-template.rst", "**/.*", "**/README*"] + [
    str(path.with_suffix(".md").relative_to(ROOT))
    for path in sorted(ROOT.glob("notebooks/**/*.ipynb"))
]

# A build executes nothing: what it shows is what the last validation has compared with a fresh run.
nb_execution_mode = "off"
nb_code_prompt_show = "Show the solution"
nb_code_prompt_hide = "Hide the solution"
nb_merge_streams = True
nb_render_error_lexer = "none"  # a traceback may be R's
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
html_math_renderer = "mathml"
myst_update_mathjax = False
myst_heading_anchors = 3

# The course, for the extensions of ours, which know nothing of it.
course: Course = editions
course_in_browser: InBrowser = in_browser
course_problems = functools.partial(pairs.unpublishable, ROOT / "notebooks")
course_solutions = _facts.course.solutions

html_theme = "sphinx_rtd_theme"
html_title = project
html_baseurl = _facts.site.url
html_use_index = False  # its words are for the search
html_copy_source = False  # the sources hold {{ placeholders }}; "Edit" leads to them
html_static_path = ["_ext/static"]
html_css_files = ["guide.css"]
html_js_files = ["guide.js", "present.js"]
html_additional_pages = {"search": "search.html"}
# Who searches has a problem, and is not looking for the code of an exercise.
search_weights = {
    "triton/apps/jupyter/faq#*": 2,
    "notebooks/*#exercise-*": 0.5,
    "notebooks/teaching#run-sheet-*": 0.5,
}
_search = _toml("triton/search.toml")
search_words = _search["words"]
search_sections = _search["sections"]
frontend_hosts = {
    _facts.hosts.short: f"{_facts.cluster.name}, login node",
    _facts.hosts.node: f"{_facts.cluster.name}, compute node",
    "laptop": "your computer",
    "outside": "your computer, elsewhere",
}
frontend_repository = _facts.site.repository
frontend_branch = _facts.site.branch
html_last_updated_fmt = "%Y-%m-%d"
html_theme_options = {
    "navigation_depth": 3,
    "titles_only": True,
    "prev_next_buttons_location": "bottom",
    "style_external_links": True,
}
html_context = {
    "report_address": _facts.site.issues + _facts.site.report,
}

# A copy button takes the commands and leaves prompts and outputs.
copybutton_prompt_text = r"\w+@[\w-]+:[^$]*\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"
copybutton_selector = "div:not(.no-copybutton) > div.highlight > pre"

git_untracked_check_dependencies = False
# An archive or a shallow clone has no dates to show; that is no fault of the page.
suppress_warnings = ["git.too_shallow", "git.subprocess_error"]

notfound_urls_prefix = urlparse(html_baseurl).path
ogp_site_url = html_baseurl
ogp_social_cards = {"enable": False}
sitemap_url_scheme = "{link}"
sitemap_show_lastmod = True

# Addresses of the pages that this guide grew from.
redirect_html_template_file = "_ext/templates/redirect.html"
redirects = {
    **{
        name: f"about/{name}.html"
        for name in ("adopt", "history", "how-tested", "how-to-write", "triton-on-your-desk")
    },
    "genindex": "search.html",
    "triton/apps/sjupyter": "jupyter/sjupyter.html",
    "triton/apps/jupyter-gpu": "jupyter/faq.html#faq-gpu",
}

# The guide as a book: make books
if "book" in globals().get("tags", ()):
    extensions = [name for name in extensions if name not in books.NOT_IN_A_BOOK]
    html_theme = "epub"
    html_theme_options = {}
    html_static_path = ["_ext/book"]
    html_css_files = ["book.css"]
    html_js_files = []
    html_additional_pages = {}
    version = time.strftime("%Y-%m-%d")
epub_basename = books.name(project)
epub_title = project
epub_author = author
epub_publisher = author
epub_identifier = epub_basename
epub_uid = epub_basename
epub_css_files = ["book.css"]
epub_show_urls = "no"
epub_tocdepth = 2

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors_ignore_for_url = [r"https://github\.com/"]
