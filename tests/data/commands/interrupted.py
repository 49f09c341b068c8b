"""Run sjupyter, and send this process a signal before one of its visible steps.

A visible step makes, changes or names a file or folder, or starts a program. The output says which
step it is.

Arguments: the number of the step, the number of the signal, the path of sjupyter, its arguments.
"""

import os
import runpy
import signal
import sys

step, number, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
steps = []


def hook(event, what):
    written = event == "open" and what[2] & (os.O_WRONLY | os.O_RDWR)
    seen = written or event in ("os.mkdir", "os.chmod", "os.rename", "subprocess.Popen")
    if seen and not isinstance(what[0], int) and str(what[0]) != os.devnull:
        steps.append(os.path.basename(str(what[0])))
        if len(steps) == step:
            print(f"killed before {steps[-1]} {steps.count(steps[-1])}", flush=True)
            os.kill(os.getpid(), number)


signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(hook)
sys.argv = sys.argv[3:]
runpy.run_path(path, run_name="__main__")
