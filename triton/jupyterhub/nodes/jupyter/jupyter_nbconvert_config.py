"""Settings of `jupyter nbconvert` on all nodes.

Without a connection file, the sockets of a kernel have the same names in each folder: of notebooks
that run there at the same time, most get no answer.

nbconvert would look for modules in the folder where it is called, first of all, and run what others
have put there.
"""

import contextlib
import os
import sys

with contextlib.suppress(ValueError):
    sys.path.remove(os.getcwd())

import secrets

from jupyter_core.paths import jupyter_runtime_dir
from jupyter_core.utils import ensure_dir_exists

folder = jupyter_runtime_dir()
ensure_dir_exists(folder, mode=0o700)
c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter gives it to this file
c.KernelManager.connection_file = f"{folder}/nbconvert-{secrets.token_hex(4)}.json"
