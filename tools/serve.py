"""Show the guide while it is written: serve.py [PORT] builds it, serves it on this computer, and
builds what changes, in less than a second.

sphinx-autobuild watches the files, and makes the browser load a page again. By itself it starts
Sphinx anew for each change, which takes seconds; here a change is built by a fork of a process that
has Sphinx and all pages loaded. The search knows of changes after a new start.
"""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

from sphinx.application import Sphinx
from sphinx_autobuild import __main__ as autobuild

from tools.files import ROOT

FOLDERS = ["_build/serve", "_build/doctrees-serve"]


loaded = None  # Sphinx with all pages; a fork of this process has it too


class Builder:
    """Builds the site at the start, and then what changes.

    It is sent to the fork, so it holds little.
    """

    def __init__(self, arguments, **options):
        global loaded
        self.began = time.time()
        loaded = Sphinx(
            ROOT, ROOT, *(ROOT / folder for folder in FOLDERS), "html", status=None, tags=["serve"]
        )

    def __call__(self, *, changed_paths):
        began = time.perf_counter()
        if self._loaded_is_old():
            command = [
                sys.executable,
                "-m",
                "sphinx",
                "-q",
                "-t",
                "serve",
                "-b",
                "html",
                "-d",
                FOLDERS[1],
                ".",
                FOLDERS[0],
            ]
            subprocess.run(command, cwd=ROOT)
        else:
            loaded.build()
        print(
            f"Built in {time.perf_counter() - began:.1f} s: "
            f"{', '.join(path.name for path in changed_paths[:5]) or 'all'}",
            flush=True,
        )

    def _loaded_is_old(self):
        """Whether a file has changed that Sphinx reads once, when it starts."""
        sources = [
            ROOT / "conf.py",
            ROOT / "triton/facts.toml",
            *(ROOT / "_ext").glob("*.py"),
            *(ROOT / "tools").rglob("*.py"),
        ]
        return any(path.stat().st_mtime > self.began for path in sources)


if __name__ == "__main__":
    if len(sys.argv) > 2 or not all(argument.isdecimal() for argument in sys.argv[1:]):
        sys.exit(__doc__)
    multiprocessing.set_start_method("fork")
    autobuild.Builder = Builder
    port = sys.argv[1] if len(sys.argv) > 1 else "8000"
    sys.exit(
        autobuild.main(
            [
                "--port",
                port,
                "--re-ignore",
                r"/(_build|\.venv[^/]*|\.triton|\.node|\.git|__pycache__)/",
                str(ROOT),
                str(ROOT / FOLDERS[0]),
            ]
        )
    )
