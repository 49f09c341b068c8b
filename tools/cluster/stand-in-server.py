"""Stands for JupyterLab where many start at once: tells the hub its port, answers each request with
whose it is, and reads the same configuration.
"""

import getpass
import http.server
import json
import os
import socket
import ssl
import sys
import urllib.request
from pathlib import Path


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(
            {
                "user": getpass.getuser(),
                "prefix": os.environ["JUPYTERHUB_SERVICE_PREFIX"],
                "job": os.environ["SLURM_JOB_ID"],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, address_family = True, socket.AF_INET


certificate, key, authorities = (
    os.environ[f"JUPYTERHUB_SSL_{name}"] for name in ("CERTFILE", "KEYFILE", "CLIENT_CA")
)
served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authorities)
asked = ssl.create_default_context(cafile=authorities)
for context in (served, asked):
    context.load_cert_chain(certificate, key)
served.verify_mode = ssl.CERT_REQUIRED
server = Server(("0.0.0.0", 0), Answer)
server.socket = served.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
token = {
    "Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"],
    "Content-Type": "application/json",
}
told = urllib.request.Request(
    os.environ["JUPYTERHUB_API_URL"] + "/batchspawner",
    json.dumps({"port": server.server_port}).encode(),
    token,
)
try:
    urllib.request.urlopen(told, timeout=60, context=asked).close()
except OSError as error:
    sys.exit(f"the hub does not take the port: {error}")
config = Path(
    os.environ["JUPYTER_CONFIG_PATH"].split(":")[0], "jupyter_server_config.py"
).read_text()
exec(
    config.partition(
        "# ---------------------------------------------------------------- what is used"
    )[0]
)  # what follows needs Jupyter
server.serve_forever()
