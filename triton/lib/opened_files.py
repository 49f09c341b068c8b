"""A file in a tab of a server of sjupyter runs no script and tells nobody its address.

A part of the configuration of these servers.

Jupyter lets scripts of an HTML file run, though apart from its own. They read the server's path in
their address, which nobody else may know, and from then on the cookies of the server go to whatever
port of the node they choose. The hub's servers need none of this: no other server has their name.

Nor does a page tell another server by itself where it stands: a link may have the browser do that
for each click (its `ping`), without a script, and in JupyterLab's own viewer too.

Where Jupyter makes a page of a notebook, a folder of templates in the folder that the server was
started in is not looked at: a template is a program.
"""

from typing import Any

from jupyter_server.base.handlers import AuthenticatedFileHandler, JupyterHandler
from jupyter_server.files.handlers import FilesHandler
from jupyter_server.nbconvert.handlers import NbconvertFileHandler, NbconvertPostHandler

_of_jupyter = JupyterHandler.content_security_policy.fget


def telling_nobody(handler: Any) -> str:
    """The Content-Security-Policy of what `handler` sends: pages connect to this server alone.

    The classic Notebook draws Vega plots, whatever is switched off. Such a plot reads any file of
    the server, and would tell others by the address of a picture.
    """
    pictures = "; img-src 'self' data: blob:" * type(handler).__module__.startswith("notebook.")
    return f"{_of_jupyter(handler)}; connect-src 'self' ws: wss: data: blob:{pictures}"


def without_scripts(handler: Any) -> str:
    """The Content-Security-Policy of what `handler` sends."""
    return f"{telling_nobody(handler)}; sandbox"


JupyterHandler.content_security_policy = property(telling_nobody)
for each in (AuthenticatedFileHandler, FilesHandler, NbconvertFileHandler, NbconvertPostHandler):
    each.content_security_policy = property(without_scripts)

# Tornado sends no file that is behind a link out of the folder, from 6.5.9 on: none of ~/work.
AuthenticatedFileHandler._resolve_symlink_target = staticmethod(lambda path, *_: path)

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter gives it to this file
c.TemplateExporter.extra_template_basedirs = []
