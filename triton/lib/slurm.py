"""What everything of ours that calls Slurm's commands has to know of Slurm: sjupyter, class-check
and the hub.

Copy this folder with those that need it: `bin/` looks for it beside itself, the hub in its own
folder.

These rules stand here, once:

* Our calls are deaf to the variables with which people change what Slurm's commands select, print
  or do (`for_queries`, `for_sbatch`). SQUEUE_PARTITION in somebody's .bashrc is meant for that
  person's squeue, not for ours.
* A job has ended when Slurm says so, and in no other case (`has_ended`). A state that is new to us
  is alive.
* Slurm that does not answer is something else than Slurm that says no (`is_away`).
* What Slurm has set for one job does not reach the next, which is started from it
  (`for_users_code`).
* What an option of sbatch means is decided as sbatch does, and not by how it is spelt (`means`).
"""

import os
import pwd
import re
from collections.abc import Iterable, Mapping

# Slurm's commands and daemons read variables that begin with their own name, or with SLURM.
PROGRAMS = (
    "ACCT",
    "ACCTMGR",
    "ACKD",
    "ALLOC",
    "ATTACH",
    "BATCH",
    "BCAST",
    "CANCEL",
    "CONTROL",
    "CRON",
    "CRUN",
    "DIAG",
    "INFO",
    "PRIO",
    "QUEUE",
    "REPORT",
    "RUN",
    "SHARE",
    "STAT",
    "TRIGGER",
    "VIEW",
)
_OF_SLURM = re.compile(rf"S(LURM[A-Z]*|{'|'.join(PROGRAMS)})_")

# Where Slurm is and who asks: without these, a command may not find its controller.
CONNECTION = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_SOCKET"})

# What people set to say, once for all their jobs, who pays and how large they are. All else that
# sbatch reads changes what it does (it waits, makes an array, writes elsewhere, asks another
# cluster), which is for its caller to say.
PAYER = frozenset("SBATCH_" + name for name in ("ACCOUNT", "QOS", "WCKEY"))
SIZE = frozenset(
    "SBATCH_" + name
    for name in (
        "RESERVATION",
        "CONSTRAINT",
        "EXCLUSIVE",
        "TIMELIMIT",
        "MEM_PER_CPU",
        "MEM_PER_GPU",
        "MEM_PER_NODE",
        "GRES",
        "GPUS",
        "GPUS_PER_NODE",
        "GPUS_PER_SOCKET",
        "GPUS_PER_TASK",
        "CPUS_PER_GPU",
        "TRES_PER_TASK",
        "HINT",
    )
)

# What slurmd sets anew in each job, so that the next has its own. All else that Slurm sets stays in
# the environment that sbatch hands on: srun then takes it for an option, and --mem of one job and
# --mem-per-cpu of the next exclude each other.
OF_EVERY_JOB = frozenset(
    (
        "SLURMD_NODENAME",
        *(
            "SLURM_" + name
            for name in (
                "CLUSTER_NAME",
                "CPUS_ON_NODE",
                "CPUS_PER_TASK",
                "GTIDS",
                "JOBID",
                "JOB_CPUS_PER_NODE",
                "JOB_END_TIME",
                "JOB_GID",
                "JOB_ID",
                "JOB_NAME",
                "JOB_NODELIST",
                "JOB_NUM_NODES",
                "JOB_PARTITION",
                "JOB_START_TIME",
                "JOB_UID",
                "JOB_USER",
                "LOCALID",
                "NNODES",
                "NODEID",
                "NODELIST",
                "PROCID",
                "SUBMIT_DIR",
                "SUBMIT_HOST",
                "TASKS_PER_NODE",
                "TASK_PID",
                "TOPOLOGY_ADDR",
                "TOPOLOGY_ADDR_PATTERN",
            )
        ),
    )
)
_SET_BY_SLURM = re.compile(
    r"SLURM[A-Z]*_(?!TIME_FORMAT$)|SBATCH_(CPU|MEM)_BIND"
)  # and by no person

# sbatch's short options that take no value, and what those mean that callers ask about; the same
# from 22.05 to 26.05.
_FLAGS = "HOQVWhksv"
_LONG = {
    "D": "chdir",
    "J": "job-name",
    "M": "clusters",
    "V": "version",
    "W": "wait",
    "a": "array",
    "e": "error",
    "h": "help",
    "o": "output",
}

# The states that Slurm counts as an end: those after SUSPENDED in its list (enum job_states, the
# same from 22.05 to 26.05).
# What it may print before them tells what happens to a job that is not over: COMPLETING,
# CONFIGURING, STAGE_OUT, RESIZING, EXPEDITING, REQUEUED, REQUEUE_HOLD, REQUEUE_FED, SPECIAL_EXIT,
# STOPPED, SIGNALING, RESV_DEL_HOLD, REVOKED.
ENDS = frozenset(
    {
        "COMPLETED",
        "CANCELLED",
        "FAILED",
        "TIMEOUT",
        "NODE_FAIL",
        "PREEMPTED",
        "BOOT_FAIL",
        "DEADLINE",
        "OUT_OF_MEMORY",
    }
)

# How Slurm's commands say that they came to no answer (src/common/slurm_errno.c, and the system's
# own errors).
_AWAY = re.compile(
    r"Unable to contact slurm controller|[Cc]ommunication connection failure|timed out"
    r"|Connection refused|Zero Bytes were transmitted|No route to host|Connection reset by peer"
    r"|backup controller|standby mode|Could not establish a configuration source"
)


def is_slurms(name: str) -> bool:
    """Whether a variable of this name is one that Slurm's commands read or set."""
    return bool(_OF_SLURM.match(name))


def for_queries(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for a command that asks, or ends, and starts nothing: squeue, sacct, sinfo,
    scontrol, scancel, sbatch --test-only.

    Times are printed as 2026-11-28T22:15:00, in the time zone of whoever calls.
    """
    heard = {
        name: value for name, value in environ.items() if not is_slurms(name) or name in CONNECTION
    }
    return heard | {"SLURM_TIME_FORMAT": "standard"}


def for_sbatch(
    environ: Mapping[str, str] = os.environ, defaults: frozenset[str] = PAYER | SIZE
) -> dict[str, str]:
    """The environment for sbatch, which hands it on to the job: nothing of a job that we are in,
    and of what people set the `defaults` only.
    """
    return {
        name: value
        for name, value in environ.items()
        if not is_slurms(name) or name in CONNECTION | defaults
    }


def for_users_code(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for what people run in a job of ours, and start other jobs from: of what
    Slurm has set, OF_EVERY_JOB.
    """
    return {
        name: value
        for name, value in environ.items()
        if not _SET_BY_SLURM.match(name) or name in OF_EVERY_JOB | CONNECTION
    }


def of_me() -> str:
    """The option with which squeue and scancel take one's own jobs.

    Their --me fails for user numbers above 2**31 until 24.05.
    """
    try:
        return f"--user={pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"--user={os.geteuid()}"


def job_number(printed: str) -> str:
    """The job's number in what sbatch printed, with --parsable or without; "" if there is none."""
    found = re.findall(
        r"^(?:Submitted batch job )?(\d+)(?:;\S+|(?: on cluster| to cluster).*)?\s*$",
        printed,
        re.MULTILINE,
    )
    return found[-1] if found else ""


def means(word: str, names: Iterable[str]) -> str:
    """Which of `names`, long options of sbatch, it could take `word` for; "" if none.

    It takes the beginning of a long option for all of it (--arra), and a word of letters for as
    many short ones (-vW).
    """
    if word.startswith("--"):
        typed = word[2:].partition("=")[0]
        return next((name for name in names if name.startswith(typed)), "")
    letters = [_LONG.get(letter) for letter in _bundle(word)[0]]
    return next((name for name in names if name in letters), "")


def lacks_value(word: str) -> bool:
    """Whether the word that follows this short or long option is its value.

    Of long ones that take none, sbatch says so.
    """
    if word.startswith("--"):
        return "=" not in word
    letters, value = _bundle(word)
    return letters[-1] not in _FLAGS and not value


def _bundle(word: str) -> tuple[str, str]:
    """The short options in `word`, -vWc2, and the value of the last one: ("vWc", "2")."""
    found = re.fullmatch(rf"-([{_FLAGS}]*[^{_FLAGS}]?)(.*)", word, re.DOTALL)
    return (found[1], found[2]) if found else ("", "")


def has_ended(state: str) -> bool:
    """Whether a job in this state, as squeue, sacct and scontrol print it, is over: "CANCELLED by
    1000" is, "COMPLETING" is not.
    """
    return bool(state) and state.split()[0].rstrip("+") in ENDS


def is_away(messages: str) -> bool:
    """Whether a command that failed with these messages came to no answer, so that nothing is
    known.
    """
    return bool(_AWAY.search(messages))
