"""Build the site, and list its pages."""

import subprocess
import sys
from pathlib import Path


def build_site(source: Path, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build the site from `source` into `target`/html as `make html` does.

    options: more options of sphinx-build. Returns the completed process, also if the build fails.
    """
    sphinx = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q"]
    folders = [target / "doctrees", source, target / "html"]
    return subprocess.run(
        [*sphinx, *options, "-b", "html", "-d", *folders],
        capture_output=True,
        text=True,
        cwd=source,
    )


def html_pages(site: Path) -> list[Path]:
    """The HTML files of the built site, without those of JupyterLite."""
    return [
        path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "lite"
    ]
