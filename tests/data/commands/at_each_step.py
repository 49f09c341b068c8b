"""Interrupt sjupyter at each of its steps until the second query of a waiting job, and send a
second Ctrl-C where sjupyter asks for one.

Argument: the number of the signal. Prints for each step [its description, exit status, messages,
remaining jobs].
"""

import json
import shutil
import signal
import subprocess
import sys

number, path = sys.argv[1], shutil.which("sjupyter")
for step in range(1, 100):
    process = subprocess.Popen(
        [sys.executable, "interrupted.py", str(step), number, path, "-t", "5", "--hold"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    messages = ""
    for line in process.stderr:
        messages += line
        if "Ctrl-C again ends job" in line:
            process.send_signal(signal.SIGINT)
    where = process.stdout.read().partition("killed before ")[2].split("\n")[0]
    jobs = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%i"], capture_output=True, text=True
    ).stdout.split()
    print(json.dumps([where, process.wait(), messages, jobs]), flush=True)
    if where in ("squeue 2", ""):
        break
