"""What triton/jupyterhub/install makes, what it does not change, and what it refuses.

Each test has its own /etc and /var/lib of the hub's host.
"""

import re
import shlex

import pytest

from tools.cluster import cluster
from tools.files import ROOT

INSTALL, STATE, KEY = (
    "/etc/jupyterhub/install",
    "/var/lib/jupyterhub",
    "/etc/jupyterhub/tls/key.pem",
)
STAGE = (ROOT / "tests/data/hub/stage.sh").read_text(encoding="utf-8")
AS_HUB = "setpriv --reuid jupyterhub --regid jupyterhub --init-groups"
LOGIN = (ROOT / "tests/data/hub/pam_login.py").read_text(encoding="utf-8")


@pytest.fixture
def stage(triton):
    """stage(script, ...) runs the lines as root on the hub's host before the first install.
    Afterwards, all that they wrote in /etc and /var/lib is removed.
    """

    def run(*script):
        return triton.run(
            "hub", ["unshare", "--mount", "bash", "-c", STAGE + "\n".join(script)], check=False
        )

    return run


def refused(completed, *words):
    """Assert that the run ended with one sentence that has these words."""
    assert completed.returncode == 1, completed
    [message] = completed.stderr.splitlines()
    assert message.startswith("install: ") and not [
        word for word in words if word not in message
    ], message


@pytest.mark.claims("Its ``install`` can be run again: it changes nothing then,")
def test_a_second_run_changes_nothing(stage):
    every = (
        f"find /etc {STATE} -path /etc/jupyterhub/tls/key.pem -prune -o -printf '%p %i %T@ %m "
        "%u %g %l\\n' | sort"
    )
    completed = stage(
        INSTALL,
        f"{every} > /mnt/first",
        "sleep 0.1",
        INSTALL,
        f"{every} | diff /mnt/first - && stat --format='%U %a' {KEY}",
    )
    assert completed.returncode == 0 and completed.stdout.splitlines()[-1] == "jupyterhub 400", (
        completed
    )


@pytest.mark.claims("and root writes through nothing that the hub's user has planted.")
@pytest.mark.parametrize(
    "plant",
    ["ln -s /etc/new {}", "ln -s /etc/motd {}", "ln old {}", "mkfifo {}", "mkdir {}", "touch {}"],
)
def test_what_the_hubs_user_planted_is_refused(stage, plant):
    """The planted file is a link (to an existing file or not), a second name of a file, no regular
    file, or empty. Root writes through none of them.
    """
    planted = plant.format("proxy_token")
    completed = stage(
        f"{INSTALL} >/dev/null",
        "touch -d yesterday /etc/motd",
        f"{AS_HUB} sh -c 'cd {STATE} && mv proxy_token old && {planted}'",
        "touch /mnt/then",
        f"timeout 10 {INSTALL} || status=$?",
        "find /etc -newer /mnt/then ! -type d >&2; stat --format=%U /etc/motd; exit $status",
    )
    refused(
        completed, f"{STATE}/proxy_token", "empty" if plant.startswith("touch") else "remove it"
    )
    assert completed.stdout.splitlines()[-1] == "root"


@pytest.mark.parametrize("made", ["mkdir /var/lib/other; ln -s other {}", "mkdir {}", "touch {}"])
def test_a_state_folder_that_is_not_its_own_is_refused(stage, made):
    completed = stage(
        made.format(STATE), f"{INSTALL} || status=$?", f"stat -L --format=%U {STATE}; exit $status"
    )
    refused(completed, STATE, "no folder of the user jupyterhub")
    assert completed.stdout.splitlines()[-1] == "root", "the folder now belongs to the hub"


@pytest.mark.parametrize(
    "made",
    [
        "mv {0} /etc/elsewhere; ln -s /etc/elsewhere {0}",
        "ln {} /etc/elsewhere",
        "mv {} /etc/elsewhere",
    ],
)
def test_a_key_that_is_a_link_or_missing_is_refused(stage, made):
    completed = stage(
        f"chown root: {KEY}",
        made.format(KEY),
        f"{INSTALL} || status=$?",
        "stat --format=%U /etc/elsewhere; exit $status",
    )
    refused(completed, KEY, "copy the file itself there")
    assert completed.stdout.splitlines()[-1] == "root"


@pytest.mark.parametrize(
    "change", ["chown nobody sudoers", "chmod g+w templates/home.html", "chmod o+w ."]
)
def test_a_folder_that_others_can_change_is_refused(stage, change):
    completed = stage("cd /etc/jupyterhub", change, INSTALL)
    refused(
        completed,
        "can be changed by others than root",
        "chown -R root: /etc/jupyterhub; chmod -R go-w /etc/jupyterhub",
    )


def test_users_can_read_the_settings_of_the_nodes(stage):
    """The README's line sees to it, even if root's umask and that of the checkout keep files from
    others: without the settings each kernel would be open to all users of its node, and nothing
    would say so.
    """
    readme = (ROOT / "triton/jupyterhub/README.md").read_text(encoding="utf-8")
    [line] = re.findall(r"`(cp -r triton/jupyterhub/nodes/\. /etc; .*?)`", readme)
    completed = stage(
        "rm -rf /etc/jupyter /etc/ipython /etc/dask; mkdir /mnt/triton; umask 077",
        "cp -r /etc/jupyterhub /mnt/triton; cd /mnt",
        line,
        "cd /mnt/triton/jupyterhub/nodes; for file in $(find .); do "
        "setpriv --reuid nobody --clear-groups test -r /etc/$file || echo $file; done",
    )
    assert (completed.returncode, completed.stdout) == (0, ""), completed


def test_secrets_are_made_by_the_hubs_own_user(stage):
    completed = stage(
        INSTALL, f"cd {STATE}; stat --format='%U %a %h %s' . proxy_token | cut -d' ' -f1,2"
    )
    assert completed.stdout.splitlines()[-2:] == ["jupyterhub 700", "jupyterhub 600"], completed


# ---------------------------------------------------------------- the user


@pytest.mark.parametrize(
    ("before", "setting", "number"),
    [
        ("true", "", 640),
        ("true", "JUPYTERHUB_UID=641", 641),
        ("useradd --system --uid 642 jupyterhub", "", 642),
    ],
)
def test_the_users_number_is_fixed_and_an_old_one_stays(stage, before, setting, number):
    completed = stage(before, f"{setting} {INSTALL}", "id -u jupyterhub")
    assert (
        completed.stdout.splitlines()[-1] == str(number)
        and f"the number {number}. On the hosts of slurmctld and slurmdbd" in completed.stdout
    ), completed


def test_a_number_of_somebody_else_is_refused(stage):
    refused(
        stage("useradd --system --uid 640 other", INSTALL), "640 belongs to other", "JUPYTERHUB_UID"
    )
    refused(
        stage("useradd --system --uid 642 jupyterhub", f"JUPYTERHUB_UID=640 {INSTALL}"),
        "has the number 642 here, not 640",
    )
    refused(stage(f"{INSTALL} users"), "install, or install user")


def test_the_same_user_elsewhere_is_an_operator_of_slurm(stage, triton):
    """With PrivateData=jobs, as the README says, the hub sees the jobs of others, and nobody else
    does.
    """
    text = triton.run("hub", f"cat {INSTALL}").stdout
    triton.write("ctl", "/root/install", text, mode="755")
    triton.run(
        "ctl",
        "id jupyterhub && userdel -f jupyterhub; /root/install user; cp "
        "/etc/slurm/slurm.conf /root/; echo PrivateData=jobs >> /etc/slurm/slurm.conf",
        check=False,
    )
    job = triton.run(
        "login", "sbatch --parsable --output=/dev/null --wrap='sleep 60'", "alice"
    ).stdout.strip()
    look = f"squeue --noheader --jobs={job} --format=%i"
    try:
        triton.run(
            "ctl",
            "scontrol reconfigure; sacctmgr --immediate add account hub; sacctmgr "
            "--immediate add user jupyterhub account=hub adminlevel=operator",
        )
        seen = triton.run(
            "hub", f"for i in $(seq 50); do {AS_HUB} {look} | grep . && break; sleep 0.2; done"
        ).stdout.strip()
        assert seen == job and not triton.run("login", look, "bob", check=False).stdout.strip()
    finally:
        triton.run(
            "ctl",
            "mv /root/slurm.conf /etc/slurm/; scontrol reconfigure; sacctmgr --immediate "
            "delete user jupyterhub; sacctmgr --immediate delete account hub",
        )
        triton.run("login", f"scancel {job}")


# ---------------------------------------------------------------- passwords, sudo, and other
# systems


@pytest.mark.parametrize(
    ("name", "rule", "setting", "is_member"),
    [
        ("common", "", "", True),
        ("common", "auth sufficient pam_sss.so", "", False),
        ("common", "#auth sufficient pam_sss.so", "", True),
        ("common", "auth sufficient pam_sss.so", "SHADOW=yes", True),
        ("password", "", "", True),
        ("system", "", "", True),
    ],
)
@pytest.mark.claims("The hub can read ``/etc/shadow`` only where passwords stand in it.")
def test_the_hub_reads_shadow_only_where_pam_asks_no_directory(
    stage, name, rule, setting, is_member
):
    """The hub was a member of the group before.

    The common rules of PAM have the name of Debian, RHEL or another system. A member of the group
    can log in users with them.
    """
    rename = (
        [f"mv /etc/pam.d/common-{kind} /etc/pam.d/{name}-{kind}" for kind in ("auth", "account")]
        if name != "common"
        else []
    )
    rename += ["printf '%s\\trequired\\tpam_deny.so\\n' auth account > /etc/pam.d/other"]
    login = shlex.join(["/opt/jupyterhub/bin/python", "-c", LOGIN, cluster.password("alice")])
    completed = stage(
        "useradd --system --groups shadow jupyterhub",
        *rename,
        f"echo '{rule}' >> /etc/pam.d/{name}-auth",
        f"{setting} {INSTALL}",
        "cat /etc/pam.d/jupyterhub; id -nG jupyterhub",
        f"{AS_HUB} {login}" if is_member else "",
    )
    assert (
        completed.returncode == 0
        and f"include  {name}-auth" in completed.stdout
        and f"include  {name}-account" in completed.stdout
    ), completed
    assert (
        ("jupyterhub shadow" in completed.stdout)
        == ("lets alice in" in completed.stdout)
        == ("The hub can read /etc/shadow" in completed.stdout)
        == is_member
    ), completed


def test_without_a_group_shadow_it_says_who_can_log_in(stage):
    """RHEL has no such group, and only root reads its /etc/shadow."""
    completed = stage("sed -i /^shadow:/d /etc/group", INSTALL)
    assert completed.returncode == 0 and "Let PAM ask a directory (SSSD)." in completed.stderr, (
        completed
    )


@pytest.mark.parametrize("version", ["1.9.5p2", "1.9.10"])
def test_slurm_in_another_folder_and_an_old_sudo(stage, version):
    """Slurm is in /opt/slurm/bin, as with OpenHPC, and sudo is that of RHEL, which knows no
    patterns. The hub has the same rights there.
    """
    output = (
        f"mkdir -p /mnt/bin; printf '#!/bin/sh\\necho Sudo version {version}\\n' > "
        "/mnt/bin/sudo; chmod +x /mnt/bin/sudo"
    )
    slurm = "mkdir -p /mnt/slurm/bin; ln -s /usr/bin/{sbatch,scancel} /mnt/slurm/bin"
    attempts = [
        "scancel 1",
        "scancel 1234567890",
        "scancel 1 2",
        "scancel --user=root",
        "scancel 1a",
        "scancel",
    ]
    completed = stage(
        output,
        slurm,
        "sed -i 's|:/usr/bin:|:/mnt/slurm/bin:|' /etc/jupyterhub/start-hub",
        f"PATH=/mnt/bin:$PATH {INSTALL} >/dev/null",
        *(
            f"{AS_HUB} sudo --non-interactive --user=alice --list {attempt} && echo may"
            for attempt in attempts
        ),
    )
    # --list prints the command if the hub may run it, and nothing otherwise
    allowed = [line for line in completed.stdout.splitlines() if line.startswith("/")]
    assert allowed == [f"/mnt/slurm/bin/{attempt}" for attempt in attempts[:2]], completed


def test_without_slurm_it_says_where_to_name_its_folder(stage):
    refused(
        stage("sed -i 's|^export PATH=.*|export PATH=/mnt|' /etc/jupyterhub/start-hub", INSTALL),
        "no sbatch in the PATH of /etc/jupyterhub/start-hub",
    )
