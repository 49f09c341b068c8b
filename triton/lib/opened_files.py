"""A file that is opened in a tab of a server of sjupyter runs no script.

A part of the configuration of these servers.

Jupyter lets scripts of an HTML file run, though apart from its own. They read the server's path in
their address, which nobody else may know, and from then on the cookies of the server go to whatever
port of the node they choose. The hub's servers need none of this: no other server has their name.
"""

from typing import Any

from jupyter_server.base.handlers import AuthenticatedFileHandler, JupyterHandler
from jupyter_server.files.handlers import FilesHandler
from jupyter_server.nbconvert.handlers import NbconvertFileHandler, NbconvertPostHandler


def without_scripts(handler: Any) -> str:
    """The Content-Security-Policy of what `handler` sends."""
    return f"{JupyterHandler.content_security_policy.fget(handler)}; sandbox"


for each in (AuthenticatedFileHandler, FilesHandler, NbconvertFileHandler, NbconvertPostHandler):
    each.content_security_policy = property(without_scripts)
