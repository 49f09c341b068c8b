"""triton/lib/slurm.py: what sjupyter, class-check and the hub know of Slurm. Runs nothing."""

import sys

import pytest

from tools.pages import ROOT

sys.path.insert(0, str(ROOT / "triton/lib"))
import slurm

OTHERS = (
    "PATH HOME SSH_AUTH_SOCK SSL_CERT_FILE SUDO_USER SHELL SCRATCH SRUNNER SQUEUE TZ LC_ALL "
    "BASH_ENV MY_SLURM_X"
)
NOT_SLURMS = dict.fromkeys(OTHERS.split(), "1")
CONNECTION = {"SLURM_CONF": "/opt/slurm.conf", "SLURM_JWT": "t"}
PAYER = {"SBATCH_ACCOUNT": "physics"}
SIZE = {"SBATCH_MEM_PER_CPU": "2G"}


def test_variables_of_slurm_do_not_reach_its_commands():
    """Only what says where Slurm is, who pays and how much."""
    prefixes = ("SLURM_", "SLURMD_", *(f"S{program}_" for program in slurm.PROGRAMS.split("|")))
    of_slurm = {
        prefix + name: "1" for prefix in prefixes for name in ("WAIT", "A_1", "TIME_FORMAT")
    }
    everything = NOT_SLURMS | CONNECTION | PAYER | SIZE | of_slurm
    standard = {"SLURM_TIME_FORMAT": "standard"}
    assert slurm.for_queries(everything) == NOT_SLURMS | CONNECTION | standard
    assert slurm.for_sbatch(everything) == NOT_SLURMS | CONNECTION | PAYER | SIZE
    assert slurm.for_sbatch(everything, slurm.PAYER) == NOT_SLURMS | CONNECTION | PAYER


def test_what_slurm_has_set_for_one_job_does_not_reach_the_next():
    """What people have set reaches their code; so does what each job has its own of."""
    people = PAYER | {"SQUEUE_FORMAT": "%i", "SLURM_TIME_FORMAT": "relative", "PATH": "/usr/bin"}
    names = ("JOB_ID", "CPUS_ON_NODE", "CPUS_PER_TASK", "CONF")
    each = {f"SLURM_{name}": "7" for name in names} | {"SLURMD_NODENAME": "c1"}
    names = ("MEM_PER_NODE", "NTASKS", "NTASKS_PER_NODE", "GPUS", "EXPORT_ENV", "CPU_BIND")
    names += ("ARRAY_TASK_ID", "HINT", "RESERVATION")
    this = {f"SLURM_{name}": "2" for name in names} | {"SBATCH_MEM_BIND": "local"}
    assert slurm.for_users_code(people | each | this) == people | each


NAMES = ("array", "wrap", "wait", "output", "test-only", "help", "version", "usage")


@pytest.mark.parametrize(
    "name, words",
    [
        ("array", "--arra=0-2 --array -a0-2 -va0-2 -array"),
        ("wait", "-W -vW -Wv -HWt5"),
        ("help", "-Vh"),
        ("wrap", "--wra=x"),
        ("test-only", "--tes"),
        ("usage", "--usag"),
        ("version", "--vers"),
        ("output", "-QvOo"),
        ("", "--account=x -A -AW -Ja -t5 --wait-all-nodes=1 --time=5 --hold -vJ-W"),
    ],
)
def test_an_option_means_what_it_means_to_sbatch(name, words):
    for word in words.split():
        assert slurm.means(word, NAMES) == name, word


def test_whether_a_value_follows():
    assert all(map(slurm.lacks_value, ("-t", "-vt", "--mem")))
    assert not any(map(slurm.lacks_value, ("-t5", "-c=5", "-HQ", "-k", "--mem=")))
