"""Show the guide while somebody writes it.

    python -m tools.serve [PORT]

builds the site, serves it on this computer, and builds each change in less than a second.

sphinx-autobuild watches the files and reloads the page in the browser. It would start Sphinx for
each change, which takes seconds. So here a fork of a process that has loaded Sphinx and all pages
builds a change. The index of the search is made at the start only.
"""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx_autobuild import __main__ as autobuild

from tools.files import ROOT

SITE = ROOT / "_build/serve"
DOCTREES = ROOT / "_build/doctrees-serve"
RESTART = (ROOT / "conf.py", ROOT / "triton/facts.toml")  # Sphinx reads them once, when it starts
NOT_WATCHED = r"/(_build|\.venv[^/]*|\.triton|\.node|\.lint|\.git|__pycache__)/"

loaded: Sphinx | None = None  # Sphinx with all pages, which a fork of this process inherits


class Builder:
    """Builds the site at the start, and then each change.

    It is pickled for the fork, so it does not hold Sphinx.
    """

    def __init__(self, arguments: list[str], **options: Any) -> None:
        """The arguments are those of sphinx-autobuild's own builder, which needs them."""
        global loaded
        self.began = time.time()
        loaded = Sphinx(ROOT, ROOT, SITE, DOCTREES, "html", status=None, tags=["serve"])

    def __call__(self, *, changed_paths: Sequence[Path]) -> None:
        """Build the site, and print the seconds and the changed files."""
        began = time.perf_counter()
        if loaded is None or self._loaded_is_old():
            options: list[str | Path] = ["-q", "-t", "serve", "-b", "html", "-d", DOCTREES]
            subprocess.run([sys.executable, "-m", "sphinx", *options, ROOT, SITE], cwd=ROOT)
        else:
            loaded.build()
        print(
            f"Built in {time.perf_counter() - began:.1f} s: "
            f"{', '.join(path.name for path in changed_paths[:5]) or 'all'}",
            flush=True,
        )

    def _loaded_is_old(self) -> bool:
        """Whether a file has changed that Sphinx reads only at its start."""
        sources = [*RESTART, *(ROOT / "_ext").glob("*.py"), *(ROOT / "tools").rglob("*.py")]
        return any(path.stat().st_mtime > self.began for path in sources)


if __name__ == "__main__":
    if len(sys.argv) > 2 or not all(argument.isdecimal() for argument in sys.argv[1:]):
        sys.exit(__doc__)
    multiprocessing.set_start_method("fork")
    autobuild.Builder = Builder  # sphinx-autobuild has no option for this
    port = sys.argv[1] if len(sys.argv) > 1 else "8000"
    sys.exit(autobuild.main(["--port", port, "--re-ignore", NOT_WATCHED, str(ROOT), str(SITE)]))
