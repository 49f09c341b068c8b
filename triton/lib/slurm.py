"""What our programs that call Slurm's commands must know of Slurm: sjupyter, class-check and the
hub.

Copy this folder with those that need it: `bin/` looks for it beside itself, the hub in its own
folder.

These rules stand here, once:

* People set variables that change what Slurm's commands select, print or do. Our calls do not get
  them (`for_queries`, `for_sbatch`): SQUEUE_PARTITION in a user's .bashrc is meant for the squeue
  that the user types, not for ours.
* A job has ended only when Slurm says so (`has_ended`). A job in a state that we do not know is
  alive.
* A Slurm that does not answer is not a Slurm that says no (`is_away`).
* A job that is started from another job gets nothing that Slurm has set for the first one
  (`for_users_code`).
* An option of sbatch means what sbatch takes it for, however it is spelt (`means`).
"""

import os
import pwd
import re
from collections.abc import Iterable, Mapping

# Slurm's commands and daemons read variables that begin with their own name, or with SLURM.
PROGRAMS = (
    "ACCT|ACCTMGR|ACKD|ALLOC|ATTACH|BATCH|BCAST|CANCEL|CONTROL|CRON|CRUN|DIAG|INFO|PRIO|QUEUE|"
    "REPORT|RUN|SHARE|STAT|TRIGGER|VIEW"
)
_OF_SLURM = re.compile(rf"S(LURM[A-Z]*|{PROGRAMS})_")


def _names(prefix: str, words: str) -> frozenset[str]:
    return frozenset(prefix + word for word in words.split())


# Where Slurm is and who asks: without these, a command may not find its controller.
CONNECTION = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_SOCKET"})

# With these, people say once for all their jobs who pays and how large the jobs are. Other
# variables of sbatch change what it does: it waits, makes an array, writes elsewhere, asks another
# cluster. Only its caller may decide that.
PAYER = _names("SBATCH_", "ACCOUNT QOS WCKEY")
SIZE = _names(
    "SBATCH_",
    "RESERVATION CONSTRAINT EXCLUSIVE TIMELIMIT MEM_PER_CPU MEM_PER_GPU MEM_PER_NODE GRES GPUS "
    "GPUS_PER_NODE GPUS_PER_SOCKET GPUS_PER_TASK CPUS_PER_GPU TRES_PER_TASK HINT",
)

# slurmd sets these anew in each job. All other variables that Slurm sets would stay in the
# environment that sbatch hands on to the next job. srun takes such a variable for an option, and
# --mem of one job excludes --mem-per-cpu of the next.
OF_EVERY_JOB = _names(
    "SLURM_",
    "CLUSTER_NAME CPUS_ON_NODE CPUS_PER_TASK GTIDS JOBID JOB_CPUS_PER_NODE JOB_END_TIME JOB_GID "
    "JOB_ID JOB_NAME JOB_NODELIST JOB_NUM_NODES JOB_PARTITION JOB_START_TIME JOB_UID JOB_USER "
    "LOCALID NNODES NODEID NODELIST PROCID SUBMIT_DIR SUBMIT_HOST TASKS_PER_NODE TASK_PID "
    "TOPOLOGY_ADDR TOPOLOGY_ADDR_PATTERN",
) | {"SLURMD_NODENAME"}
_SET_BY_SLURM = re.compile(
    r"SLURM[A-Z]*_(?!TIME_FORMAT$)|SBATCH_(CPU|MEM)_BIND"
)  # and by no person

# The short options of sbatch that take no value, and the long names of those that callers ask
# about. They are the same from Slurm 22.05 to 26.05.
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

# The states of a job that is over: those after SUSPENDED in Slurm's list (enum job_states, the same
# from 22.05 to 26.05).
# Other words that Slurm may print are about a job that is not over: COMPLETING, CONFIGURING,
# STAGE_OUT, RESIZING, EXPEDITING, REQUEUED, REQUEUE_HOLD, REQUEUE_FED, SPECIAL_EXIT, STOPPED,
# SIGNALING, RESV_DEL_HOLD, REVOKED.
ENDS = _names(
    "",
    "COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY",
)

# The messages of Slurm's commands that got no answer (src/common/slurm_errno.c, and the system's
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
    """The environment for a command that starts no job: squeue, sacct, sinfo, scontrol, scancel,
    sbatch --test-only.

    Times are printed as 2026-11-28T22:15:00, in the time zone of whoever calls.
    """
    heard = {
        name: value for name, value in environ.items() if not is_slurms(name) or name in CONNECTION
    }
    return heard | {"SLURM_TIME_FORMAT": "standard"}


def for_sbatch(
    environ: Mapping[str, str] = os.environ, defaults: frozenset[str] = PAYER | SIZE
) -> dict[str, str]:
    """The environment for sbatch, which hands it on to the job.

    It has nothing of a job that we are in. Of the variables that people set for sbatch it has only
    the `defaults`.
    """
    return {
        name: value
        for name, value in environ.items()
        if not is_slurms(name) or name in CONNECTION | defaults
    }


def for_users_code(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for programs that people run in a job of ours, and from which they may start
    other jobs. Of the variables that Slurm has set it has only OF_EVERY_JOB.
    """
    return {
        name: value
        for name, value in environ.items()
        if not _SET_BY_SLURM.match(name) or name in OF_EVERY_JOB | CONNECTION
    }


def memory_of_job(environ: Mapping[str, str] = os.environ) -> int:
    """The bytes of memory that the job that we are in has on this node; 0 if Slurm does not say."""
    per_node, per_core, cores = (
        int(environ.get(f"SLURM_{name}", 0))
        for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")
    )
    return (per_node or per_core * cores) * 2**20


def of_me() -> str:
    """The option that makes squeue and scancel take one's own jobs.

    Until Slurm 24.05 their --me fails for user numbers above 2**31.
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
    """The long option, one of `names`, that sbatch could take `word` for; "" if there is none.

    sbatch takes the beginning of a long option for the whole one (--arra), and each letter of a
    word for a short option (-vW).
    """
    if word.startswith("--"):
        typed = word[2:].partition("=")[0]
        return next((name for name in names if name.startswith(typed)), "")
    letters = [_LONG.get(letter) for letter in _bundle(word)[0]]
    return next((name for name in names if name in letters), "")


def lacks_value(word: str) -> bool:
    """Whether the word behind this short or long option is its value.

    If a long option takes no value, sbatch itself says so.
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
    """Whether a command that failed with these messages got no answer. Then nothing is known."""
    return bool(_AWAY.search(messages))
