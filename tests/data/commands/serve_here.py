"""Serve the files of this folder at a Unix socket and a port: serve_here.py SOCKET PORT."""

import http.server
import os
import socketserver
import sys
import threading


class Page(http.server.SimpleHTTPRequestHandler):
    """Answers with files of this folder, and logs nothing."""

    def address_string(self):
        return "somebody"


class Unix(socketserver.ThreadingUnixStreamServer):
    """The same at a socket; a handler wants to know the name of its server."""

    server_name, server_port = "localhost", 0


unix = Unix(sys.argv[1], Page)
os.chmod(sys.argv[1], 0o666)  # as uvicorn leaves it
threading.Thread(target=unix.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Page).serve_forever()
