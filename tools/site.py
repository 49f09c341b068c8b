"""The site: a build of it, and its pages."""

import subprocess
import sys


def build_site(source, target, *options):
    """Build the site from `source` into `target`/html as `make html` does; return the finished
    process.
    """
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "-q",
        *options,
        "-b",
        "html",
        "-d",
        target / "doctrees",
        source,
        target / "html",
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=source)


def html_pages(site):
    """The pages of the built site that are the guide's own: not those of JupyterLite."""
    return [
        path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "lite"
    ]
