"""Asks the user before a link from somebody else copies or runs anything in a server of the hub.

This file is a part of each server's configuration.

Two kinds of address act as soon as a page leads there. Those of nbgitpuller copy a repository into
the home directory. That of a notebook starts a kernel in the notebook's folder, and a kernel runs
files of that folder. Without a question, whoever writes such a link could run programs as the user
who follows it.

A script in a file that is opened in a tab learns no token with which it could answer that question.
And the answer can be given only when the question has been in front for a second: another page may
lie above it, ask for a double click, and close itself after the first.
"""

import html
import os
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from jupyter_server.base.handlers import JupyterHandler
from tornado.web import HTTPError

OPENS = re.compile(
    r"(?:(?:lab|doc)(?:/workspaces/[^/]+)?/tree|notebooks|consoles|tree)/(.*)", re.DOTALL
)
# What the guide's own button copies, and where to (see tools/course/editions.py).
COURSE = {"branch": ["student"], "targetpath": ["home/jupyter-course"]}
REPOSITORY = re.compile(r"(?:https?|ssh|git)://[^/]|[\w.-]+@[\w.-]+:")
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>A link</title></head>
<body><p>{question}</p><p><a data-to="{address}">Go on</a></p><p><a href="{base}">Leave it</a></p>
<script>
const link = document.querySelector("a");
let timer;
function wait() {{
  clearTimeout(timer);
  link.removeAttribute("href");
  timer = setTimeout(() => (link.href = link.dataset.to), 1000);
}}
addEventListener("focus", wait);
wait();
</script></body></html>"""
_prepare = JupyterHandler.prepare


def is_own(root: str, place: str) -> bool:
    """Whether only this user and root can put files on the way to `place`, a path below `root`."""
    parts = place.split("/")
    # Jupyter may read such a path as another one.
    if {"..", "tree"} & {*parts} or set(place) & set("%\\\0"):
        return False
    for part in parts:
        root = os.path.join(root, part)
        try:
            known = os.stat(root)
        except OSError:
            return True  # nothing is there, and nobody else can create it
        if known.st_uid not in (0, os.getuid()) or known.st_mode & 0o022:
            return False
    return True


def is_the_guides(root: str, fields: dict[str, list[str]]) -> bool:
    """Whether these are exactly the fields of the guide's own button."""
    # the hub adds this field
    fields = {name: values for name, values in fields.items() if name != "redirects"}
    opens = fields.pop("urlpath", [""])[-1]
    return (
        fields == {"repo": [globals().get("GUIDE")]} | COURSE
        and opens.startswith(f"lab/tree/{COURSE['targetpath'][0]}/")
        and is_own(root, opens.removeprefix("lab/tree/"))
    )


def copies(root: str, fields: dict[str, list[str]]) -> str:
    """The question for a link that copies a repository. Raises 400 if the link is dangerous or
    wrong.
    """
    repository = fields.get("repo", [""])[-1]
    targets = fields.get("targetpath", []) + fields.get("targetPath", [])
    for target in targets or [repository.rstrip("/").rpartition("/")[2]]:
        parts = os.path.realpath(os.path.join(root, target)).split("/")
        if target.startswith("/") or any(part.startswith(".") for part in parts):
            raise HTTPError(400, "This link would write where hidden files are. It does nothing.")
    # nbgitpuller writes the fields into its page without escaping them.
    if any({*"<>\"'`"} & {*"".join(field)} for field in fields.values()) or (
        not REPOSITORY.match(repository)
    ):
        raise HTTPError(400, "This link names no repository. It does nothing.")
    into = f" into {targets[-1]}" if targets else ""
    return f"A link wants to copy {repository}{into}, and to open it. What is in there runs as you."


def without_token(request: Any) -> str:
    """The address of the page that is asked for, without the XSRF token; "" if there is none in it.

    JupyterLab writes the token into the address of each file, where a script of that file reads it.
    """
    is_page = request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    if request.method != "GET" or not is_page or "_xsrf" not in request.query_arguments:
        return ""
    fields = parse_qsl(request.query, keep_blank_values=True)
    return f"{request.path}?{urlencode([field for field in fields if field[0] != '_xsrf'])}"


def is_a_page(request: Any) -> bool:
    """Whether a browser asks for a page, and not for a picture in a text of others. The hub's own
    logout leads here from another name. A program that is not a browser says nothing.
    """
    return bool(request.headers.get("Sec-Fetch-Dest", "document") == "document")


async def asking_first(handler: Any, *words: Any, **options: Any) -> None:
    """Prepare an answer as Jupyter does, or ask the user first."""
    await _prepare(handler, *words, **options)
    if handler.current_user is None or handler._finished:
        return
    request, base = handler.request, handler.base_url
    root = os.path.expanduser(handler.settings.get("server_root_dir", ""))
    path = unquote(request.path).removeprefix(base)
    question, address = "", request.uri
    if path == "logout" and not is_a_page(request):
        raise HTTPError(403, "Another page asks to log you out. It does nothing.")
    if path.rstrip("/") in ("git-pull", "git-pull/api"):
        fields = {name: handler.get_arguments(name) for name in request.arguments}
        token = handler.xsrf_token.decode()  # whoever wrote the link does not know this token
        agreed = fields.pop("_xsrf", [""])[-1] == token
        question = copies(root, fields)
        if agreed or (path == "git-pull" and is_the_guides(root, fields)):
            return
        address = f"{base}git-pull?{urlencode(fields | {'_xsrf': token}, doseq=True)}"
    elif page := without_token(request):
        handler.redirect(page)
        return
    elif (
        (opens := OPENS.fullmatch(path))
        and request.headers.get("Sec-Fetch-Site") != "same-origin"
        and not is_own(root, opens[1])
    ):
        question = f"A link wants to open {opens[1]}. What others put into that folder runs as you."
    if question:
        question, address = html.escape(question), html.escape(address)
        handler.set_header("Content-Type", "text/html; charset=utf-8")
        handler.finish(PAGE.format(question=question, address=address, base=base))


JupyterHandler.prepare = asking_first
