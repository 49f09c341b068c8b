"""Sphinx configuration of the guide: `make html`. Names and addresses are in triton/facts.toml."""

import functools
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlparse

from sphinx.errors import ConfigError

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))
from _ext import books  # noqa: E402
from _ext.facts import substitute  # noqa: E402
from tools import git  # noqa: E402
from tools.course import editions, in_browser, pairs  # noqa: E402
from triton.lib import clusterfacts  # noqa: E402

git.forget_the_hook()  # the dates of the pages are of this repository
try:
    _facts = clusterfacts.load(ROOT / "triton/facts.toml")
except clusterfacts.FactsError as error:
    raise ConfigError(str(error)) from None
project = f"Jupyter on {_facts.cluster.name}"
author = f"{_facts.cluster.university} Science-IT and contributors"
copyright = f"{author}, CC BY 4.0"
extensions = books.SITE_EXTENSIONS
nitpicky = True
# Only the folders of the guide are read, and of a notebook pair only the half with the outputs.
include_patterns = ["index.rst", "about/**", "triton/**", "scicomp/**", "notebooks/**"]
exclude_patterns = [".*", "_build", "about/page-template.rst", "**/.*", "notebooks/**README*"]
exclude_patterns += [] if _facts.gpus else ["triton/tut/gpu.rst"]
exclude_patterns += [] if _facts.hosts.ondemand else ["triton/apps/jupyter/ondemand.rst"]
_pairs = ROOT.glob("notebooks/**/*.ipynb")
exclude_patterns += [str(path.relative_to(ROOT).with_suffix(".md")) for path in _pairs]
# A build executes nothing: what it shows is what the last validation has compared with a fresh run.
nb_execution_mode = "off"
nb_code_prompt_show = "Show the solution"
nb_code_prompt_hide = "Hide the solution"
nb_merge_streams = True
nb_render_error_lexer = "none"  # a traceback may be R's
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_update_mathjax = False
myst_heading_anchors = 3
facts = _facts.in_words()  # our extensions know no cluster and no course
facts_file = "triton/facts.toml"
facts_optional = clusterfacts.OPTIONAL
proof_exceptions = {
    "Code that is shown and not run": "tools/proof/console_blocks.toml",
    "Words that are compared with nothing": "tools/proof/elsewhere.toml",
    "Programs of which the small cluster has only a stand-in": "tools/cluster/stand-ins.toml",
}
course = editions
course_in_browser = in_browser
course_problems = functools.partial(pairs.unpublishable, ROOT / "notebooks")
course_solutions = _facts.course.solutions
frontend_hosts = _facts.prompts()
frontend_repository = _facts.site.repository
frontend_branch = _facts.site.branch
search = tomllib.loads(substitute((ROOT / "triton/search.toml").read_text("utf-8"), facts)[0])
html_theme = "sphinx_rtd_theme"
html_theme_options = {"navigation_depth": 3, "titles_only": True, "style_external_links": True}
html_title = project
html_baseurl = _facts.site.url
html_math_renderer = "mathml"
html_use_index = False
html_copy_source = False  # the sources hold {{ placeholders }}; "Edit" leads to them
html_static_path = ["_ext/static"]
html_css_files = ["guide.css"]
html_js_files = ["guide.js", "present.js"]
html_additional_pages = {"search": "search.html"}
html_last_updated_fmt = "%Y-%m-%d"
html_context = {"report_address": _facts.site.issues + _facts.site.report}
# A copy button takes the commands and leaves prompts and outputs.
copybutton_prompt_text = r"\w+@[\w-]+:[^$]*\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"
copybutton_selector = "div:not(.no-copybutton, .output) > div.highlight > pre"
git_untracked_check_dependencies = False
suppress_warnings = ["git.too_shallow", "git.subprocess_error"]  # an archive has no dates
notfound_template = "404.html"
notfound_urls_prefix = urlparse(html_baseurl).path
ogp_site_url = html_baseurl
ogp_social_cards = {"enable": False}
sitemap_url_scheme = "{link}"
sitemap_show_lastmod = True
redirect_html_template_file = "_ext/templates/redirect.html"
redirects = tomllib.loads((ROOT / "about/redirects.toml").read_text("utf-8"))
linkcheck_anchors_ignore_for_url = [r"https://github\.com/"]
globals().update(books.settings(project, author, book="book" in globals().get("tags", ())))
