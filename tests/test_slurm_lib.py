"""triton/lib/slurm.py: what sjupyter, class-check and the hub know of Slurm. Runs nothing."""
import functools
import random
import re
import sys
import tomllib
import types
from pathlib import Path

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


# ---------------------------------------------------------------- what the releases print

RELEASES = tomllib.loads((ROOT / "tests/slurm_releases.toml").read_text(encoding="utf-8"))


def printed(kind, key="says"):
    """Of each release, what it prints of this kind."""
    return [pytest.param(text, id=f"{entry['since']}-{text[:30]}") for entry in RELEASES[kind] for text in ([entry[key]] if isinstance(entry[key], str) else entry[key])]


@pytest.mark.parametrize("state", [*printed("state", "alive"), "", "?", "OF_TOMORROW"])
def test_what_is_no_end_is_alive(state):
    assert not slurm.has_ended(state)


@pytest.mark.parametrize("state", [*printed("state", "ended"), "CANCELLED+"])
def test_an_end_is_an_end(state):
    assert slurm.has_ended(state)


@pytest.mark.parametrize("message", printed("away"))
def test_a_silent_controller_is_recognised(message):
    assert slurm.is_away(f"sbatch: error: {message}\n")


@pytest.mark.parametrize("message", printed("no"))
def test_a_no_is_an_answer(message):
    assert not slurm.is_away(f"sbatch: error: {message}\n")


def test_the_job_number_is_found_in_what_sbatch_prints():
    for entry in RELEASES["submitted"]:
        for number, text in entry["prints"].items():
            assert slurm.job_number(text) == slurm.job_number(f"Welcome to 2 clusters\n{text}\n") == number
    assert slurm.job_number("slurm 25.11.7\n") == slurm.job_number("") == slurm.job_number("Usage: sbatch [OPTIONS...]\n") == ""


@functools.cache
def command(name):
    """A command of ours, as a module."""
    module = types.ModuleType(name.replace("-", "_"))
    module.__file__ = str(ROOT / "triton/bin" / name)
    sys.modules[module.__name__] = module
    exec(compile(Path(module.__file__).read_text(encoding="utf-8"), module.__file__, "exec"), module.__dict__)
    return module


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a command of Slurm's first on the path that prints this text, says that, and ends so."""
    def make(name, prints="", says="", status=0):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat {tmp_path}/prints\ncat {tmp_path}/says >&2\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
        (tmp_path / "prints").write_text(prints)
        (tmp_path / "says").write_text(says)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return make


@pytest.mark.parametrize("state", printed("state", "alive"))
def test_sjupyter_ends_no_job_in_a_state_of_a_newer_release(stand_in, state):
    stand_in("squeue", f"{state}\n")
    assert not command("sjupyter").is_over("7")


def test_sjupyter_knows_the_end_from_silence(stand_in):
    sjupyter = command("sjupyter")
    for entry in RELEASES["away"]:
        for message in entry["says"]:
            stand_in("squeue", says=f"squeue: error: {message}\n", status=1)
            with pytest.raises(sjupyter.Silent):
                sjupyter.is_over("7")
    stand_in("squeue", says="slurm_load_jobs error: Invalid job id specified\n", status=1)
    assert sjupyter.is_over("7")
    stand_in("squeue", "OUT_OF_MEMORY\n")
    assert sjupyter.is_over("7")


def test_sjupyter_reads_a_squeue_that_has_more_to_say(stand_in):
    stand_in("squeue", "Maintenance on Monday\n7|EXPEDITING|None|c1|2099-01-01T10:00:00|1:00|500M|/home/a|b/job.sh\n")
    jobs = command("sjupyter").queue(1)
    assert list(jobs) == ["7"] and str(jobs["7"]["script"]) == "/home/a|b/job.sh" and jobs["7"]["state"] == "EXPEDITING"


@pytest.mark.parametrize("message", printed("test_only"))
def test_class_check_reads_when_a_server_could_start(stand_in, message):
    class_check = command("class-check")
    stand_in("sbatch", says=f"{message}\n")
    options = class_check.parse([])
    (finding,) = class_check.places(options)
    assert finding.good and "2099-01-01 10:00:00" in finding.said


@pytest.mark.parametrize("reason", printed("reason"))
def test_class_check_has_a_remedy_for_each_reason(reason):
    assert [text for begin, text in command("class-check").WAITING.items() if reason.startswith(begin)]


# ---------------------------------------------------------------- what options of sbatch mean

NAMES = ("array", "wrap", "wait", "output", "test-only", "help", "version", "usage")


@pytest.mark.parametrize("word, name", [
    ("--arra=0-2", "array"), ("--array", "array"), ("-a0-2", "array"), ("-va0-2", "array"), ("-array", "array"), ("-W", "wait"), ("-vW", "wait"), ("-Wv", "wait"),
    ("-HWt5", "wait"), ("-Vh", "help"), ("--wra=x", "wrap"), ("--tes", "test-only"), ("--usag", "usage"), ("--vers", "version"), ("-QvOo", "output"),
    ("--account=x", ""), ("-A", ""), ("-AW", ""), ("-Ja", ""), ("-t5", ""), ("--wait-all-nodes=1", ""), ("--time=5", ""), ("--hold", ""), ("-vJ-W", ""),
])
def test_an_option_means_what_it_means_to_sbatch(word, name):
    assert slurm.means(word, NAMES) == name


@pytest.mark.parametrize("word, lacks", [("-t", True), ("-vt", True), ("-t5", False), ("-c=5", False), ("-HQ", False), ("-k", False), ("--mem", True), ("--mem=", False)])
def test_whether_a_value_follows(word, lacks):
    assert slurm.lacks_value(word) == lacks


# ---------------------------------------------------------------- what people run in a job

def test_what_slurm_has_set_for_one_job_does_not_reach_the_next():
    """What people have set reaches their code; so does what each job has its own of."""
    people = {"SBATCH_ACCOUNT": "physics", "SQUEUE_FORMAT": "%i", "SLURM_TIME_FORMAT": "relative", "PATH": "/usr/bin"}
    each = {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "2", "SLURM_CPUS_PER_TASK": "2", "SLURMD_NODENAME": "c1", "SLURM_CONF": "/etc/slurm.conf"}
    this = {"SLURM_MEM_PER_NODE": "500", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_GPUS": "1", "SLURM_EXPORT_ENV": "NONE", "SLURM_CPU_BIND": "none",
            "SBATCH_MEM_BIND": "local", "SLURM_ARRAY_TASK_ID": "0", "SLURM_HINT": "x", "SLURM_RESERVATION": "r"}
    assert slurm.for_users_code(people | each | this) == people | each
