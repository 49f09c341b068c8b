"""The commands of the page about a small cluster on your desk do what it says."""
import os
import re
import subprocess

import pytest
from conftest import ROOT
from guide import pages
from triton import cluster

PAGE = "triton-on-your-desk.rst"
COMMANDS = re.findall(r"^   (sudo .*)$", pages.read(PAGE), re.MULTILINE)


def test_the_commands_work_in_page_order(tmp_path):
    if why := cluster.obstacle():
        pytest.skip(why)
    state = tmp_path / "desk"
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"} | {"SMALL_TRITON": str(state)}
    printed = {}
    try:
        for command in COMMANDS:
            # Packages are there, and so is root, or this would not run.
            typed = command.replace("sudo make system cluster", "make cluster").replace("sudo ", "")
            done = subprocess.run(typed, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            printed[command] = done.stdout
    finally:
        cluster.down(state)
    texts = list(printed.values())
    assert "4 nodes idle" in texts[0] and f"4.{cluster.facts()['hosts']['domain']}" in next(text for command, text in printed.items() if "srun" in command)
    assert "16 nodes idle" in next(text for command, text in printed.items() if "polling" in command)
    assert "MB of memory" in next(text for command, text in printed.items() if "status" in command)
    assert not state.exists()


def test_the_table_names_the_hosts_that_there_are():
    named = set(re.findall(r"^   \* - (\w+)(?: and three more)?$", pages.read(PAGE), re.MULTILINE)) - {"Host"}
    assert named == {host.name for host in cluster.plan(1)}
