"""What a server writes stays where its user sees it, whatever others have put into that folder.

A part of the configuration of each server, the hub's and sjupyter's.

JupyterLab copies each file that may be written as soon as it is opened: into a folder beside it or,
where that cannot be made, below /tmp. In the folder of somebody else, or in a copy of a repository,
the name of that copy can be a link to any place, and so can the file itself when it is saved. In
/tmp everybody can make the folder first. So a text that somebody only looks at could become a
program of theirs, for IPython runs all files of one folder when a kernel starts.

A link that came with a repository or an archive belongs to this user, as the user's own links do.
So what others may have written goes through no link at all.
"""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints, FileCheckpoints
from jupyter_server.services.contents.fileio import FileManagerMixin, path_to_intermediate
from tornado.web import HTTPError

_atomic_writing = FileManagerMixin.atomic_writing


def is_mine_alone(folder: str) -> bool:
    """Whether nobody but this user and root can put a file into `folder`, a path without links, or
    another folder into its place.
    """
    writable = True
    while True:
        known = os.lstat(folder)
        if known.st_uid not in (0, os.getuid()):
            return False
        # In a folder as /tmp nobody can replace what belongs to somebody else.
        if known.st_mode & 0o022 and (writable or not known.st_mode & stat.S_ISVTX):
            return False
        if folder == "/":
            return True
        folder, writable = os.path.dirname(folder), False


def without_links(path: str) -> str:
    """`path` with the targets in the place of its links. Raises 400 if somebody else has made one
    of them.
    """
    done, parts, left = "/", path.split("/")[::-1], 40  # links; Linux follows no more either
    while parts:
        part = parts.pop()
        if part == "..":
            done = os.path.dirname(done)
        elif part not in ("", "."):
            place = os.path.join(done, part)
            with contextlib.suppress(FileNotFoundError):
                known = os.lstat(place)
                if stat.S_ISLNK(known.st_mode):
                    left -= 1
                    if known.st_uid not in (0, os.getuid()) or not left:
                        raise HTTPError(
                            400,
                            f"Nothing is saved: {place} is a link that somebody else has made. "
                            "Save it under another name, in a folder of yours.",
                        )
                    target = os.readlink(place)
                    parts += target.split("/")[::-1]
                    place = "/" if target.startswith("/") else done
            done = place
    return done


@contextlib.contextmanager
def writing(manager: Any, os_path: str, *words: Any, **options: Any) -> Iterator[Any]:
    """Open a file to write all of it anew, as Jupyter's own atomic_writing does.

    Where others can write, too, it makes no second file, and looks at the file that it has opened
    before it changes it: a link may have come just now.
    """
    path = without_links(os_path)
    if is_mine_alone(os.path.dirname(path)):
        second = path_to_intermediate(path)  # Jupyter copies the file there first
        if os.path.islink(second):
            with manager.perm_to_403(os_path):
                os.unlink(second)
        with _atomic_writing(manager, path, *words, **options) as file:
            yield file
        return
    is_text = options.get("text", True)
    with manager.perm_to_403(os_path):
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    with open(number, "r+b") as found:
        if os.readlink(f"/proc/self/fd/{number}") != path:
            raise HTTPError(400, f"Nothing is saved: {os_path} leads to another place.")
        before = found.read()
        found.seek(0)
        found.truncate()
        mode, encoding = ("w", options.get("encoding", "utf-8")) if is_text else ("wb", None)
        try:
            with open(
                number, mode, encoding=encoding, newline="\n" if is_text else None, closefd=False
            ) as file:
                yield file
        except BaseException:
            os.ftruncate(number, 0)
            os.pwrite(number, before, 0)
            raise
        os.fsync(number)


def checkpoint_path(checkpoints: Any, checkpoint_id: str, path: str) -> str:
    """The place of a file's copy: beside it, if nobody else can write there; otherwise with the
    sockets of this server, for as long as it runs.
    """
    parent, name = os.path.split(path.strip("/"))
    begin, end = os.path.splitext(name)
    folder = os.path.realpath(checkpoints._get_os_path(parent))
    beside = os.path.join(folder, checkpoints.checkpoint_dir)
    copy = f"{begin}-{checkpoint_id}{end}"
    if not os.path.isdir(folder):
        raise HTTPError(404, f"There is no folder {parent}.")
    inner = beside if os.path.lexists(beside) else folder
    is_linked = os.path.islink(os.path.join(beside, copy))
    if is_linked or not is_mine_alone(inner) or not os.access(inner, os.W_OK):
        key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        beside = os.path.join(jupyter_runtime_dir(), "checkpoints", key)
    with checkpoints.perm_to_403():
        # By a default ACL of the folder, others could write into a folder with another mode.
        os.makedirs(beside, 0o700, exist_ok=True)
    return os.path.join(beside, copy)


def restore(checkpoints: Any, contents: Any, checkpoint_id: str, path: str) -> None:
    """Put a file's copy into its place.

    Raises 400 if that is a link: a repository may have both.
    """
    place = contents._get_os_path(path)
    if os.path.islink(place):
        raise HTTPError(400, f"Nothing is restored: {place} is a link.")
    copy = checkpoints.checkpoint_path(checkpoint_id, path)
    with open(copy, "rb") as kept, contents.atomic_writing(place, text=False) as file:
        shutil.copyfileobj(kept, file)


async def restore_later(*words: Any) -> None:
    """As restore(), for a server that waits for it."""
    restore(*words)


FileManagerMixin.atomic_writing = writing
FileCheckpoints.checkpoint_path = checkpoint_path
FileCheckpoints.restore_checkpoint = restore
AsyncFileCheckpoints.restore_checkpoint = restore_later
