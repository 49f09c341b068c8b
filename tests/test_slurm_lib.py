"""triton/lib/slurm.py: what sjupyter, class-check and the hub know of Slurm. Runs nothing."""
import random
import re
import sys

import pytest
from guide.pages import ROOT

sys.path.insert(0, str(ROOT / "triton/lib"))
import slurm  # noqa: E402

PREFIXES = ("SLURM_", "SLURMD_", *(f"S{program}_" for program in slurm.PROGRAMS))
NOT_SLURMS = {"PATH": "/usr/bin", "HOME": "/home/alice", "SSH_AUTH_SOCK": "/tmp/a", "SSL_CERT_FILE": "b", "SUDO_USER": "c", "SHELL": "/bin/bash", "SCRATCH": "d",
              "SRUNNER": "e", "SQUEUE": "f", "TZ": "Europe/Helsinki", "LC_ALL": "fi_FI.UTF-8", "BASH_ENV": "g", "MY_SLURM_X": "h"}


def random_environment(dice):
    names = ("".join(dice.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", k=dice.randint(1, 12))) for _ in range(dice.randint(1, 20)))
    return NOT_SLURMS | {dice.choice(PREFIXES) + name: name for name in names}


def test_random_variables_of_slurm_never_reach_its_commands():
    """Of three thousand random environments nothing of Slurm's comes through but what says where it is, who pays and how much."""
    for seed in range(3000):
        environment = random_environment(random.Random(seed))
        heard = slurm.for_queries(environment)
        assert {name for name in heard if re.match("S[A-Z]+_", name)} - set(NOT_SLURMS) <= slurm.CONNECTION | {"SLURM_TIME_FORMAT"}, seed
        assert heard["SLURM_TIME_FORMAT"] == "standard" and NOT_SLURMS.items() <= heard.items(), seed
        given = slurm.for_sbatch(environment)
        assert {name for name in given if re.match("S[A-Z]+_", name)} - set(NOT_SLURMS) <= slurm.CONNECTION | slurm.PAYER | slurm.SIZE, seed
        assert NOT_SLURMS.items() <= given.items(), seed


def test_where_slurm_is_and_who_pays_is_handed_on():
    environment = {"SLURM_CONF": "/opt/slurm.conf", "SLURM_JWT": "t", "SBATCH_ACCOUNT": "physics", "SBATCH_WAIT": "1", "SBATCH_MEM_PER_CPU": "2G", "SLURM_MEM_PER_NODE": "500"}
    assert slurm.for_sbatch(environment) == {"SLURM_CONF": "/opt/slurm.conf", "SLURM_JWT": "t", "SBATCH_ACCOUNT": "physics", "SBATCH_MEM_PER_CPU": "2G"}
    assert "SBATCH_MEM_PER_CPU" not in slurm.for_sbatch(environment, slurm.PAYER)
    assert slurm.for_queries(environment) == {"SLURM_CONF": "/opt/slurm.conf", "SLURM_JWT": "t", "SLURM_TIME_FORMAT": "standard"}


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "STAGE_OUT", "EXPEDITING", "RESIZING", "REQUEUED", "REQUEUE_HOLD",
                                   "REQUEUE_FED", "SPECIAL_EXIT", "STOPPED", "SIGNALING", "RESV_DEL_HOLD", "REVOKED", "", "?", "OF_TOMORROW"])
def test_what_is_no_end_is_alive(state):
    assert not slurm.has_ended(state)


@pytest.mark.parametrize("state", [*sorted(slurm.ENDS), "CANCELLED by 1000", "CANCELLED+"])
def test_an_end_is_an_end(state):
    assert slurm.has_ended(state)
