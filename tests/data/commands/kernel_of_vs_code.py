"""Start a kernel as VS Code does, print its port, and let it print: kernel_of_vs_code.py FILE."""

import subprocess
import sys
import time

from jupyter_client import BlockingKernelClient, write_connection_file

path, known = write_connection_file(sys.argv[1], transport="tcp", ip="127.0.0.1")
kernel = subprocess.Popen([sys.executable, "-m", "ipykernel_launcher", f"--f={path}"])
client = BlockingKernelClient()
client.load_connection_file(path)
client.start_channels()
client.wait_for_ready(timeout=60)
print("port", known["iopub_port"], flush=True)
try:
    while True:
        client.execute_interactive("print('a secret')")
        time.sleep(0.3)
finally:
    kernel.kill()
