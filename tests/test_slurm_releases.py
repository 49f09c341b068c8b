"""What the hub reads of squeue, as each release of Slurm prints it: tests/data/slurm-releases.toml. Runs no Slurm; the installed one is test_hub_jobs.py's."""
import ast
import asyncio
import sys
import tomllib

import pytest
from guide.pages import ROOT

sys.path[:0] = [str(ROOT / "triton/jupyterhub"), str(ROOT / "triton/lib")]
import jobs  # noqa: E402
import slurm  # noqa: E402


def releases():
    known = {}
    for release in tomllib.loads((ROOT / "tests/data/slurm-releases.toml").read_text(encoding="utf-8"))["release"]:
        known = known | release
        known["states"] = known["states"] + known.pop("more_states", [])
        yield known


RELEASES = list(releases())
by_release = pytest.mark.parametrize("release", RELEASES, ids=[release["tag"] for release in RELEASES])


def row(**fields):
    """A line of squeue: each field as wide as it was asked for, and cut there."""
    return "".join(f"{fields.get(name, ''):{width}.{width}}|" for name, width in jobs.FIELDS.items())


def table(name):
    """A dict of profile_spawner.py, which can be imported only where JupyterHub is."""
    tree = ast.parse((ROOT / "triton/jupyterhub/profile_spawner.py").read_text(encoding="utf-8"))
    return next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == name)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """hub(lines, error) is the Jobs of a hub whose squeue, and whose users' squeue, prints that."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def made(lines, error=""):
        (tmp_path / "lines").write_text("".join(f"{line}\n" for line in lines))
        for name in ("squeue", "sudo"):
            (programs / name).write_text(f"#!/bin/sh\ncat {tmp_path}/lines\n" + (f"echo 'squeue: error: {error}' >&2; exit 1\n" if error else ""))
            (programs / name).chmod(0o755)
        return jobs.Jobs("hub:8081", tmp_path / "jobs.json")

    return made


@by_release
def test_each_state_is_decided_and_only_an_end_is_one(hub, release):
    """A job of any state is found, and is over in the nine that Slurm counts as ends."""
    for state in release["states"]:
        found = asyncio.run(hub([row(JobID="7", UserName="alice", State=state, Comment="hub:8081/0123456789abcdef")]).find("alice", 0, mark="hub:8081/0123456789abcdef"))
        assert found.number == "7" and found.over == (state in slurm.ENDS), state
    assert slurm.ENDS <= set(release["states"])


@by_release
@pytest.mark.parametrize("how", ["exit_code", "killed", "no_exit"])
def test_the_exit_code_is_read_in_the_words_of_each_release(release, how):
    printed, code = release[how]
    assert jobs.parse(row(JobID="7", exit_code=printed))["7"].exit_code == code


@by_release
def test_what_is_said_of_reasons_is_said_of_those_that_exist(release):
    assert set(table("WAITS")) == set(release["reasons"])
    assert set(table("ENDS")) == slurm.ENDS - {"FAILED"}
    assert set(table("STATES")) | table("PUT_BACK") <= set(release["states"])


@by_release
def test_a_controller_that_is_away_ends_no_job(hub, release):
    for message in release["away"]:
        with pytest.raises(jobs.SlurmSilent):
            asyncio.run(hub([], message).find("alice", 0, number="7"))


def test_a_number_that_slurm_gave_to_another_start_is_not_taken(hub):
    """A controller that was killed forgets its last jobs, and counts from their numbers again."""
    line = row(JobID="7", UserName="alice", State="RUNNING", Comment="hub:8081/0123456789abcdef")
    assert asyncio.run(hub([line]).find("alice", 0, "7", "hub:8081/ffffffffffffffff")) is None
    assert asyncio.run(hub([line]).find("bob", 0, "7", "hub:8081/0123456789abcdef")) is None
    assert asyncio.run(hub([line]).find("alice", 0, "7", "hub:8081/0123456789abcdef"))


def test_a_start_that_is_noted_while_others_are_looked_after_is_not_ended(hub, tmp_path):
    """Its server is known a moment later than its mark, and its job by the time that squeue has answered."""
    mark = "hub:8081/0123456789abcdef"
    jobs_of_hub = hub([])
    line = row(JobID="7", UserName="alice", State="PENDING", Comment=mark)
    (tmp_path / "bin/sudo").write_text(f"#!/bin/sh\ncase $* in *scancel*) : > {tmp_path}/ended ;; *) echo '{line}' ;; esac\n")

    async def look():
        await jobs_of_hub.starts.note(mark, "alice")
        calls = iter([set(), {mark}])
        await jobs_of_hub._round(lambda: next(calls))

    asyncio.run(look())
    assert not (tmp_path / "ended").exists()
