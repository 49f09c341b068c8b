"""triton/lib/slurm.py: what sjupyter, class-check and the hub know of Slurm. Runs nothing."""

import random
import re
import sys

import pytest

from tools.pages import ROOT

sys.path.insert(0, str(ROOT / "triton/lib"))
import slurm

PREFIXES = ("SLURM_", "SLURMD_", *(f"S{program}_" for program in slurm.PROGRAMS))
NOT_SLURMS = {
    "PATH": "/usr/bin",
    "HOME": "/home/alice",
    "SSH_AUTH_SOCK": "/tmp/a",
    "SSL_CERT_FILE": "b",
    "SUDO_USER": "c",
    "SHELL": "/bin/bash",
    "SCRATCH": "d",
    "SRUNNER": "e",
    "SQUEUE": "f",
    "TZ": "Europe/Helsinki",
    "LC_ALL": "fi_FI.UTF-8",
    "BASH_ENV": "g",
    "MY_SLURM_X": "h",
}


def random_environment(dice):
    names = (
        "".join(dice.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", k=dice.randint(1, 12)))
        for _ in range(dice.randint(1, 20))
    )
    return NOT_SLURMS | {dice.choice(PREFIXES) + name: name for name in names}


def test_random_variables_of_slurm_never_reach_its_commands():
    """Of three thousand random environments nothing of Slurm's comes through but what says where it
    is, who pays and how much.
    """
    for seed in range(3000):
        environment = random_environment(random.Random(seed))
        heard = slurm.for_queries(environment)
        assert {name for name in heard if re.match("S[A-Z]+_", name)} - set(
            NOT_SLURMS
        ) <= slurm.CONNECTION | {"SLURM_TIME_FORMAT"}, seed
        assert heard["SLURM_TIME_FORMAT"] == "standard" and NOT_SLURMS.items() <= heard.items(), (
            seed
        )
        given = slurm.for_sbatch(environment)
        assert {name for name in given if re.match("S[A-Z]+_", name)} - set(
            NOT_SLURMS
        ) <= slurm.CONNECTION | slurm.PAYER | slurm.SIZE, seed
        assert NOT_SLURMS.items() <= given.items(), seed


def test_where_slurm_is_and_who_pays_is_handed_on():
    environment = {
        "SLURM_CONF": "/opt/slurm.conf",
        "SLURM_JWT": "t",
        "SBATCH_ACCOUNT": "physics",
        "SBATCH_WAIT": "1",
        "SBATCH_MEM_PER_CPU": "2G",
        "SLURM_MEM_PER_NODE": "500",
    }
    assert slurm.for_sbatch(environment) == {
        "SLURM_CONF": "/opt/slurm.conf",
        "SLURM_JWT": "t",
        "SBATCH_ACCOUNT": "physics",
        "SBATCH_MEM_PER_CPU": "2G",
    }
    assert "SBATCH_MEM_PER_CPU" not in slurm.for_sbatch(environment, slurm.PAYER)
    assert slurm.for_queries(environment) == {
        "SLURM_CONF": "/opt/slurm.conf",
        "SLURM_JWT": "t",
        "SLURM_TIME_FORMAT": "standard",
    }


# ---------------------------------------------------------------- what options of sbatch mean

NAMES = ("array", "wrap", "wait", "output", "test-only", "help", "version", "usage")


@pytest.mark.parametrize(
    "word, name",
    [
        ("--arra=0-2", "array"),
        ("--array", "array"),
        ("-a0-2", "array"),
        ("-va0-2", "array"),
        ("-array", "array"),
        ("-W", "wait"),
        ("-vW", "wait"),
        ("-Wv", "wait"),
        ("-HWt5", "wait"),
        ("-Vh", "help"),
        ("--wra=x", "wrap"),
        ("--tes", "test-only"),
        ("--usag", "usage"),
        ("--vers", "version"),
        ("-QvOo", "output"),
        ("--account=x", ""),
        ("-A", ""),
        ("-AW", ""),
        ("-Ja", ""),
        ("-t5", ""),
        ("--wait-all-nodes=1", ""),
        ("--time=5", ""),
        ("--hold", ""),
        ("-vJ-W", ""),
    ],
)
def test_an_option_means_what_it_means_to_sbatch(word, name):
    assert slurm.means(word, NAMES) == name


@pytest.mark.parametrize(
    "word, lacks",
    [
        ("-t", True),
        ("-vt", True),
        ("-t5", False),
        ("-c=5", False),
        ("-HQ", False),
        ("-k", False),
        ("--mem", True),
        ("--mem=", False),
    ],
)
def test_whether_a_value_follows(word, lacks):
    assert slurm.lacks_value(word) == lacks


# ---------------------------------------------------------------- what people run in a job


def test_what_slurm_has_set_for_one_job_does_not_reach_the_next():
    """What people have set reaches their code; so does what each job has its own of."""
    people = {
        "SBATCH_ACCOUNT": "physics",
        "SQUEUE_FORMAT": "%i",
        "SLURM_TIME_FORMAT": "relative",
        "PATH": "/usr/bin",
    }
    each = {
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_ON_NODE": "2",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURMD_NODENAME": "c1",
        "SLURM_CONF": "/etc/slurm.conf",
    }
    this = {
        "SLURM_MEM_PER_NODE": "500",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_GPUS": "1",
        "SLURM_EXPORT_ENV": "NONE",
        "SLURM_CPU_BIND": "none",
        "SBATCH_MEM_BIND": "local",
        "SLURM_ARRAY_TASK_ID": "0",
        "SLURM_HINT": "x",
        "SLURM_RESERVATION": "r",
    }
    assert slurm.for_users_code(people | each | this) == people | each
