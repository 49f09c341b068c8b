"""The commands on the page about a small cluster on your desk do what the page says."""

import contextlib
import os
import re
import shlex
import subprocess
import time

import pytest

from tools import pages
from tools.cluster import cluster
from tools.files import ROOT

PAGE = "about/triton-on-your-desk.rst"
COMMANDS = re.findall(r"^   ((?:make|ssh|tools/).*)$", pages.read(PAGE), re.MULTILINE)
[BROWSER] = re.findall(
    r"^   chromium --proxy-server=socks5://(\S+) (\S+)$", pages.read(PAGE), re.MULTILINE
)


@contextlib.contextmanager
def left_open(command, environment, folder):
    """Keep `command`, an ssh, running in a terminal of its own; accept the host key and type the
    password.
    """
    answer = folder / "answer"
    answer.write_text(
        f"#!/bin/sh\ncase $1 in *yes/no*) echo yes ;; *) echo {cluster.password('alice')} ;; esac\n"
    )
    answer.chmod(0o755)
    words = shlex.split(command)
    words[1:1] = ["-o", f"UserKnownHostsFile={folder}/known_hosts"]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment | {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def opens(proxy, address, seconds=60):
    """Whether `address` shows the login page of the hub through `proxy`."""
    until = time.monotonic() + seconds
    look = [
        "curl",
        "--silent",
        "--insecure",
        "--location",
        "--cookie",
        "/dev/null",
        "--max-time",
        "10",
        "--socks5-hostname",
        proxy,
        address,
    ]
    while (
        is_open := "Username" in subprocess.run(look, capture_output=True, text=True).stdout
    ) is False and time.monotonic() < until:
        time.sleep(0.5)
    return is_open


@pytest.mark.claims("The certificate is the cluster's own, so accept the warning:")
def test_the_commands_work_in_page_order(tmp_path):
    if why := cluster.obstacle():
        pytest.skip(why)
    state = tmp_path / "desk"
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"} | {
        "SMALL_TRITON": str(state)
    }
    printed = {}
    try:
        for command in COMMANDS:
            if command.startswith("ssh "):
                with left_open(command, environment, tmp_path):
                    assert opens(*BROWSER), f"{command} does not lead to {BROWSER[1]}"
                    refused = subprocess.run(
                        ["curl", "--silent", "--max-time", "10", "--socks5-hostname", *BROWSER],
                        capture_output=True,
                    )
                    assert refused.returncode == 60, (
                        "the browser shows no warning about the certificate"
                    )
                continue
            completed = subprocess.run(
                command,
                shell=True,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=300,
            )
            assert completed.returncode == 0, f"{command}\n{completed.stdout}{completed.stderr}"
            printed[command] = completed.stdout
    finally:
        cluster.down(state)
    texts = list(printed.values())
    assert "4 nodes idle" in texts[0] and f"4.{cluster.facts().hosts.domain}" in next(
        text for command, text in printed.items() if "srun" in command
    )
    assert "16 nodes idle" in next(
        text for command, text in printed.items() if "polling" in command
    )
    assert "MB of memory" in next(text for command, text in printed.items() if "status" in command)
    assert not state.exists()


def test_the_table_names_the_hosts_that_there_are():
    hosts = pages.read(PAGE).partition("Look around")[2]
    named = set(re.findall(r"^   \* - (\w+)(?: and three more)?$", hosts, re.MULTILINE)) - {"Host"}
    assert named == {host.name for host in cluster.plan(1)}


@pytest.mark.claims(
    "Users are alice, bob, whose home is nearly full, student01 to student299, and username, "
    'whom the recording shows. The password is the name and "-secret".',
)
def test_users_and_sizes_are_those_of_the_cluster():
    text = " ".join(pages.read(PAGE).split())
    [(first, second, begin, end, reader)] = re.findall(
        r"Users are (\w+), (\w+), whose home is nearly full, (\w+) to (\w+), and (\w+), "
        r"whom the recording shows\. The password is the name and \"-secret\"\.",
        text,
    )
    assert [first, second, begin, end, reader] == [
        *cluster.USERS[:3],
        *cluster.USERS[-2:],
    ] and second == cluster.FULL_USER
    assert cluster.password(first) == f"{first}-secret"
