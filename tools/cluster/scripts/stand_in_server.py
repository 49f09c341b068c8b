"""A small server that stands in for JupyterLab where many servers start at once.

It tells the hub its port, names its user in each answer, and reads JupyterLab's configuration.
"""

import getpass
import http.server
import json
import os
import re
import socket
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import ClassVar

# The part of the configuration below this line needs Jupyter.
NEEDS_JUPYTER = "# ---------------------------------------------------------------- what is used"


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers each request with the user, the address prefix and the job of this server, and with
    the users whose servers' cookies it has received. It sets a cookie of its own.
    """

    cookies: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        self.cookies.update(re.findall(r"of-server=([\w-]+)", self.headers.get("Cookie", "")))
        self.cookies.discard(getpass.getuser())
        body = json.dumps(
            {
                "user": getpass.getuser(),
                "prefix": os.environ["JUPYTERHUB_SERVICE_PREFIX"],
                "job": os.environ["SLURM_JOB_ID"],
                "cookies": sorted(self.cookies),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Set-Cookie", f"of-server={getpass.getuser()}; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: object) -> None:
        """Log nothing."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The TLS contexts for answers to the hub and for requests to it.

    Both present this server's certificate, and accept only those of the hub's authority.
    """
    certificate, key, authorities = (
        os.environ[f"JUPYTERHUB_SSL_{name}"] for name in ("CERTFILE", "KEYFILE", "CLIENT_CA")
    )
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authorities)
    asking = ssl.create_default_context(cafile=authorities)
    for context in (serving, asking):
        context.load_cert_chain(certificate, key)
    serving.verify_mode = ssl.CERT_REQUIRED
    return serving, asking


def tell_port(port: int, asking: ssl.SSLContext) -> None:
    """Tell the hub the port. Raises SystemExit if the hub does not take it."""
    request = urllib.request.Request(
        os.environ["JUPYTERHUB_API_URL"] + "/batchspawner",
        json.dumps({"port": port}).encode(),
        {
            "Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"],
            "Content-Type": "application/json",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=60, context=asking).close()
    except OSError as error:
        sys.exit(f"the hub does not take the port: {error}")


def main() -> None:
    serving, asking = contexts()
    server = Server(("0.0.0.0", 0), Answer)
    server.socket = serving.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    tell_port(server.server_port, asking)
    folder = os.environ["JUPYTER_CONFIG_PATH"].split(":")[0]
    config = Path(folder, "jupyter_server_config.py").read_text()
    exec(config.partition(NEEDS_JUPYTER)[0], {"__name__": "jupyter_server_config"})
    server.serve_forever()


if __name__ == "__main__":
    main()
