"""Root's rights in namespaces of one's own, which an ordinary user can have too.

python -m tools.cluster.privileges COMMAND ...    run COMMAND with them

For an ordinary user the kernel makes the numbers of /etc/subuid and /etc/subgid the users of a
namespace, and this user its root: https://man7.org/linux/man-pages/man7/user_namespaces.7.html.
"""

import functools
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

USER_NAMESPACE = ("unshare", "--user", "--map-auto", "--map-root-user")
PROGRAMS = ("unshare", "nsenter", "mount", "chroot")
ETC = Path("/etc")
APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


def as_root() -> list[str]:
    """What stands before a command that needs root's rights in namespaces."""
    return [] if os.geteuid() == 0 else list(USER_NAMESPACE)


@functools.cache
def obstacle() -> str | None:
    """Why this user has no such rights here, and what to do about it; None if they are there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if absent := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        return f"it needs Linux and {', '.join(absent)}: try a virtual machine"
    kinds = ("--mount", "--net", "--uts", "--ipc", "--pid", "--mount-proc")
    tried = subprocess.run(
        [*as_root(), "unshare", "--fork", *kinds, "true"], capture_output=True, text=True
    )
    if not tried.returncode:
        return None
    if os.geteuid() == 0:
        return (
            "it needs Linux namespaces, which this machine or container does not allow: try a "
            "virtual machine"
        )
    return why_no_user_namespace(tried.stderr)


def why_no_user_namespace(said: str) -> str:
    """Why an ordinary user has no namespace with several users, and what to do about it.

    said: the error message of unshare.
    """
    if not shutil.which("newuidmap"):
        return "it needs newuidmap: make system names its package, or run the command with sudo"
    user = pwd.getpwuid(os.geteuid()).pw_name
    for file in ("subuid", "subgid"):
        lines = (ETC / file).read_text() if (ETC / file).exists() else ""
        if not any(line.split(":")[0] in (user, str(os.geteuid())) for line in lines.splitlines()):
            return (
                f"{user} has no line in /etc/{file}: sudo usermod --add-subuids 100000-165535 "
                f"--add-subgids 100000-165535 {user}"
            )
    if APPARMOR.exists() and APPARMOR.read_text().strip() == "1":
        return (
            "AppArmor forbids user namespaces here, as on Ubuntu since 23.10: run the command "
            "with sudo"
        )
    return f"this user may have no user namespace ({said.strip()}): run the command with sudo"


def main(words: list[str]) -> int:
    """Run the command `words` with root's rights in a namespace; return 1 if there are none."""
    if why := obstacle():
        print(why[0].upper() + why[1:], file=sys.stderr)
        return 1
    command = [*as_root(), *words]
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
