"""What the hub, sjupyter and class-check read of Slurm's commands, as each release prints it:
tests/data/slurm-releases.toml. Runs no Slurm; the installed one is the other tests'.
"""

import ast
import asyncio
import functools
import os
import sys
import tomllib
import types
from pathlib import Path

import pytest

from tools.pages import ROOT

sys.path[:0] = [str(ROOT / "triton/jupyterhub"), str(ROOT / "triton/lib")]
import jobs  # noqa: E402
import slurm  # noqa: E402

RELEASES = tomllib.loads((ROOT / "tests/data/slurm-releases.toml").read_text(encoding="utf-8"))


def printed(kind, key="says"):
    """Of each release, what it prints of this kind."""
    return [
        pytest.param(text, id=f"{entry['since']}-{text[:30]}")
        for entry in RELEASES[kind]
        for text in ([entry[key]] if isinstance(entry[key], str) else entry[key])
    ]


def test_an_end_is_an_end_and_silence_is_silence():
    for entry in RELEASES["state"]:
        assert not [state for state in entry["alive"] if slurm.has_ended(state)]
        assert all(map(slurm.has_ended, entry["ended"]))
    assert slurm.has_ended("CANCELLED+")
    assert not any(map(slurm.has_ended, ("", "?", "OF_TOMORROW")))
    for kind in ("away", "no"):
        for message in (message for entry in RELEASES[kind] for message in entry["says"]):
            assert slurm.is_away(f"sbatch: error: {message}\n") == (kind == "away"), message


def test_the_job_number_is_found_in_what_sbatch_prints():
    for entry in RELEASES["submitted"]:
        for number, text in entry["prints"].items():
            assert (
                slurm.job_number(text)
                == slurm.job_number(f"Welcome to 2 clusters\n{text}\n")
                == number
            )
    assert (
        slurm.job_number("slurm 25.11.7\n")
        == slurm.job_number("")
        == slurm.job_number("Usage: sbatch [OPTIONS...]\n")
        == ""
    )


@functools.cache
def command(name):
    """A command of ours, as a module."""
    module = types.ModuleType(name.replace("-", "_"))
    module.__file__ = str(ROOT / "triton/bin" / name)
    sys.modules[module.__name__] = module
    exec(
        compile(Path(module.__file__).read_text(encoding="utf-8"), module.__file__, "exec"),
        module.__dict__,
    )
    return module


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a command of Slurm's first on the path that prints this text, says that, and ends so."""

    def make(name, prints="", says="", status=0):
        (tmp_path / name).write_text(
            f"#!/bin/sh\ncat {tmp_path}/prints\ncat {tmp_path}/says >&2\nexit {status}\n"
        )
        (tmp_path / name).chmod(0o755)
        (tmp_path / "prints").write_text(prints)
        (tmp_path / "says").write_text(says)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return make


def test_sjupyter_knows_the_end_from_silence(stand_in):
    """And ends no job in a state of a newer release."""
    sjupyter = command("sjupyter")
    for entry in RELEASES["state"]:
        for state in entry["alive"]:
            stand_in("squeue", f"{state}\n")
            assert not sjupyter.is_over("7"), state
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
    stand_in(
        "squeue",
        "Maintenance on Monday\n"
        "7|EXPEDITING|None|c1|2099-01-01T10:00:00|1:00|500M|/home/a|b/job.sh\n",
    )
    jobs = command("sjupyter").queue(1)
    assert (
        list(jobs) == ["7"]
        and str(jobs["7"].script) == "/home/a|b/job.sh"
        and jobs["7"].state == "EXPEDITING"
    )


@pytest.mark.parametrize("message", printed("test_only"))
def test_class_check_reads_when_a_server_could_start(stand_in, message):
    class_check = command("class-check")
    stand_in("sbatch", says=f"{message}\n")
    options = class_check.parse([])
    (finding,) = class_check.places(options)
    assert finding.good and "2099-01-01 10:00:00" in finding.said


@pytest.mark.parametrize("reason", printed("reason"))
def test_class_check_has_a_remedy_for_each_reason(reason):
    assert [
        text for begin, text in command("class-check").WAITING.items() if reason.startswith(begin)
    ]


# ---------------------------------------------------------------- the hub


def row(**fields):
    """A line of squeue: each field as wide as it was asked for, and cut there."""
    return "".join(
        f"{fields.get(name, ''):{width}.{width}}|" for name, width in jobs.FIELDS.items()
    )


def table(name):
    """A dict of profile_spawner.py, which can be imported only where JupyterHub is."""
    tree = ast.parse((ROOT / "triton/jupyterhub/profile_spawner.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == name
    )


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """hub(lines, error) is the Jobs of a hub whose squeue, and whose users' squeue, prints that."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def made(lines, error=""):
        (tmp_path / "lines").write_text("".join(f"{line}\n" for line in lines))
        for name in ("squeue", "sudo"):
            (programs / name).write_text(
                f"#!/bin/sh\ncat {tmp_path}/lines\n"
                + (f"echo 'squeue: error: {error}' >&2; exit 1\n" if error else "")
            )
            (programs / name).chmod(0o755)
        return jobs.Jobs("hub:8081", tmp_path / "jobs.json")

    return made


@pytest.mark.parametrize("text", ["{", "[]", '{"mark": 1}', '{"mark": {"user": "alice"}}'])
def test_a_list_of_starts_in_another_form_stops_no_start(hub, tmp_path, text):
    """The comments of the jobs tell then what the hub has started."""
    (tmp_path / "jobs.json").write_text(text)
    starts = hub([]).starts
    assert starts.entries == {} and asyncio.run(starts.note("mark", "alice"))
    assert list(jobs.Starts(starts.path).entries) == ["mark"]


@pytest.mark.claims("nor in any other state that is no end, of any Slurm from 22.05 to 26.05.")
@pytest.mark.parametrize("state", [*printed("state", "alive"), *printed("state", "ended"), "?"])
def test_each_state_is_decided_and_only_an_end_is_one(hub, state):
    """A job of any state is found, and is over in the nine that Slurm counts as ends."""
    state = state.split()[0]
    found = asyncio.run(
        hub(
            [row(JobID="7", UserName="alice", State=state, Comment="hub:8081/0123456789abcdef")]
        ).find("alice", 0, mark="hub:8081/0123456789abcdef")
    )
    assert found.number == "7" and found.over == (state in slurm.ENDS)


def test_the_exit_code_is_read_in_the_words_of_each_release():
    for entry in RELEASES["exit_code"]:
        for text, code in entry["means"].items():
            assert jobs.parse(row(JobID="7", exit_code=text))["7"].exit_code == code, text


def test_all_reasons_and_states_that_are_explained_exist():
    """What we say of Slurm's reasons and states, we say of those that Slurm has."""
    alive, ended = (
        {state.split()[0] for entry in RELEASES["state"] for state in entry[key]}
        for key in ("alive", "ended")
    )
    assert set(table("WAITS")) == {
        reason for entry in RELEASES["explained"] for reason in entry["says"]
    }
    assert set(table("ENDS")) == slurm.ENDS - {"FAILED"} and ended == slurm.ENDS
    assert set(table("STATES")) | table("PUT_BACK") <= alive


@pytest.mark.parametrize("message", printed("away"))
def test_a_controller_that_is_away_ends_no_job(hub, message):
    with pytest.raises(jobs.SlurmSilent):
        asyncio.run(hub([], message).find("alice", 0, number="7"))


def test_a_number_that_slurm_gave_to_another_start_is_not_taken(hub):
    """A controller that was killed forgets its last jobs, and counts from their numbers again."""
    line = row(JobID="7", UserName="alice", State="RUNNING", Comment="hub:8081/0123456789abcdef")
    assert asyncio.run(hub([line]).find("alice", 0, "7", "hub:8081/ffffffffffffffff")) is None
    assert asyncio.run(hub([line]).find("bob", 0, "7", "hub:8081/0123456789abcdef")) is None
    assert asyncio.run(hub([line]).find("alice", 0, "7", "hub:8081/0123456789abcdef"))


def test_a_comment_with_line_breaks_is_no_row():
    """What people write into the comments of their own jobs says nothing of those of others."""
    short = "7|alice|COMPLETED|r|n|N/A|0|hub:8081/0123456789abcdef|"
    comments = [
        f"x\n{short}",
        f"x\r{short}",
        f"x\x0b{short}",
        f"x\x85{short}",
        f"x\u2028{short}",
        f"\n{short}\n",
        "x|y",
        "x\n" + row(JobID="7", UserName="alice"),
    ]
    real = row(JobID="7", UserName="alice", State="RUNNING", Comment="hub:8081/0123456789abcdef")
    for comment in comments:
        found = jobs.parse(
            "\n".join([real, row(JobID="8", UserName="bob", State="PENDING", Comment=comment), ""])
        )
        assert [(job.number, job.user, job.state) for job in found.values()] == [
            ("7", "alice", "RUNNING"),
            ("8", "bob", "PENDING"),
        ], comment
        assert (
            found["7"].mark == "hub:8081/0123456789abcdef"
            and found["8"].mark == comment.partition("\n")[0][:100].strip()
        )


def test_a_start_noted_while_others_are_tended_is_not_ended(hub, tmp_path):
    """Its server is known a moment later than its mark, and its job by the time that squeue has
    answered.
    """
    mark = "hub:8081/0123456789abcdef"
    jobs_of_hub = hub([])
    line = row(JobID="7", UserName="alice", State="PENDING", Comment=mark)
    (tmp_path / "bin/sudo").write_text(
        f"#!/bin/sh\ncase $* in *scancel*) : > {tmp_path}/ended ;; *) echo '{line}' ;; esac\n"
    )

    async def look():
        await jobs_of_hub.starts.note(mark, "alice")
        calls = iter([set(), {mark}])
        await jobs_of_hub._round(lambda: next(calls))

    asyncio.run(look())
    assert not (tmp_path / "ended").exists()


@pytest.mark.claims("Nor do a thousand jobs of somebody that look like those of the service.")
@pytest.mark.parametrize(
    "mark", ["hub:8081/{:016x}", "hub:8081/0123456789abcdef", "hub:8081/{}", "other:8081/{:016x}"]
)
def test_many_jobs_that_look_like_the_hubs_hold_up_nobody(hub, tmp_path, monkeypatch, mark):
    """Bob hands in 800 jobs with marks, of their own or all with one: in a round he gets a few
    calls, two at once, and the job of Alice that no server wants is ended.
    """
    held = [
        row(JobID=str(number), UserName="bob", State="PENDING", Comment=mark.format(number))
        for number in range(1000, 1800)
    ]
    jobs_of_hub = hub(
        [
            *held,
            row(JobID="7", UserName="alice", State="RUNNING", Comment="hub:8081/ffffffffffffffff"),
        ]
    )
    (tmp_path / "bin/sudo").write_text(
        f"#!/bin/sh\necho begins $* >> {tmp_path}/calls; sleep 0.1; echo ends >> {tmp_path}/calls\n"
    )
    writes = []
    monkeypatch.setattr(os, "fsync", lambda file: writes.append(file))

    async def look():
        await jobs_of_hub.starts.note("hub:8081/0123456789abcdef", "bob", "1")
        await jobs_of_hub._round(set)

    asyncio.run(look())
    calls, running = (tmp_path / "calls").read_text().splitlines(), [0]
    for line in calls:
        running.append(running[-1] + (1 if line.startswith("begins") else -1))
    assert any("--user=alice" in line and line.endswith("scancel 7") for line in calls)
    assert len(calls) <= 2 * 5 and max(running) <= 2 and len(writes) <= 1 + 2, (
        len(calls),
        max(running),
        len(writes),
    )


def test_a_second_job_of_a_start_is_ended_though_unseen(hub, tmp_path):
    """The hub does not see it.

    Where jobs are private, only its owner sees that sbatch brought one though it said that it had
    not.
    """
    mark = "hub:8081/0123456789abcdef"
    jobs_of_hub = hub([])
    rows = [
        row(JobID="7", UserName="alice", State="COMPLETED", Comment=mark),
        row(JobID="8", UserName="alice", State="RUNNING", Comment=mark),
    ]
    (tmp_path / "bin/sudo").write_text(
        f"#!/bin/sh\ncase $* in *'scancel 8') : > {tmp_path}/ended ;; *squeue*) printf "
        f"'%s\\n' '{rows[0]}' '{rows[1]}' ;; esac\n"
    )

    async def look():
        await jobs_of_hub.starts.note(mark, "alice", "7")
        await jobs_of_hub._round(set)

    asyncio.run(look())
    assert (tmp_path / "ended").exists() and mark in jobs_of_hub.starts.entries
