"""Run code in a new kernel of a server, until the code, the kernel or the server ends.

Arguments: the address of the server, its token, the code. It needs websocket-client.
"""

import contextlib
import json
import sys
import urllib.request
import uuid

import websocket

base, token, code = sys.argv[1:]
key = {"Authorization": f"token {token}"}
request = urllib.request.Request(f"{base}/api/kernels", data=b"{}", headers=key)
kernel = json.load(urllib.request.urlopen(request))["id"]
socket = websocket.create_connection(
    f"{base.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels", header=key, timeout=40
)
header = {
    "msg_id": uuid.uuid4().hex,
    "msg_type": "execute_request",
    "username": "",
    "session": uuid.uuid4().hex,
    "version": "5.3",
}
message = {
    "channel": "shell",
    "parent_header": {},
    "metadata": {},
    "buffers": [],
    "header": header,
    "content": {"code": code, "silent": False},
}
socket.send(json.dumps(message))
with contextlib.suppress(websocket.WebSocketException, ValueError, OSError):
    while True:
        message = json.loads(socket.recv())
        if message["msg_type"] == "execute_reply" or message["content"].get("execution_state") in (
            "restarting",
            "dead",
        ):
            break
