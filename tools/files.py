"""The checkout: its folder, a copy of it, and a function that writes a file whole."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def write_whole(path: Path, content: str | bytes, check: Callable[[], None] = lambda: None) -> None:
    """Write `content` to the file `path`, text as UTF-8; the folder must be there.

    check: called just before the file is replaced; if it raises, the file is not replaced.

    Other processes read the old content or the new one, never a part, even if this process is
    killed. An old file keeps its permissions, and a link stays a link. Raises OSError; then the
    file has not changed, and no other file is left.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        check()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def copy_source(target: Path, source: Path = ROOT) -> Path:
    """Copy the checkout `source` to the new folder `target`, and return `target`.

    The copy has the tracked files, new files that git does not ignore, and the history. Raises
    subprocess.CalledProcessError if `source` is no checkout.
    """
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        if (source / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
    subprocess.run(["git", "clone", "-q", "--bare", source, target / ".git"], check=True)
    subprocess.run(["git", "-C", target, "config", "core.bare", "false"], check=True)
    subprocess.run(["git", "-C", target, "reset", "-q"], check=True)
    return target
