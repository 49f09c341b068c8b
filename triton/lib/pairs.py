"""To save a notebook writes no file but those beside it that have its name.

A part of the configuration of each server, the hub's and sjupyter's.

Jupytext keeps a notebook as two files, for example analysis.ipynb and analysis.py. The notebook
itself says which, whoever has written it, and JupyterLab saves it soon after it is opened. So a
notebook of somebody else could become a file that IPython runs at each start, or take the place of
a module, before any of its cells has run.
"""

import os.path
from typing import Any

from tornado.web import HTTPError


def beside_the_notebook(path: str, contents_manager: Any, **_: Any) -> None:
    """Raise 400 if Jupytext is about to write this file, and others that are elsewhere or have
    another name. A link is where it leads to: a repository may have one beside its notebook.

    Jupyter calls this before it writes a file.
    """

    def place(path: str) -> str:
        there: str = contents_manager._get_os_path(path)
        return os.path.splitext(os.path.realpath(there))[0]

    if pair := getattr(contents_manager, "paired_notebooks", {}).get(path):
        from jupytext.paired_paths import paired_paths

        for other, _format in paired_paths(path, *pair):
            if place(other) != place(path):
                raise HTTPError(
                    400,
                    f"Nothing is saved: Jupytext would also write {other}. It may write only "
                    "beside the notebook, under its name. If the pair is yours: jupytext "
                    "--set-formats ipynb,py NOTEBOOK. If not, take jupytext.formats out of its "
                    "metadata.",
                )


c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter gives it to this file
c.ContentsManager.pre_save_hook = beside_the_notebook
