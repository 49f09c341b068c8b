"""A client of the kernels of a Jupyter server: `kernel_client.py URL TOKEN`.

It runs on the login node, in the central environment. Each line of its input is a JSON list: the
name of a function (`ask` or `execute`) and its arguments. For each it prints the answer as a line
of JSON, or {"failed": reason}.
"""

import contextlib
import json
import ssl
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

import websocket  # type: ignore[import-not-found]  # it is in the central environment only

url, token = sys.argv[1:]
TRUSTED = ssl.create_default_context()


def ask(path: str, data: Any = None, method: str | None = None) -> Any:
    """The answer of the server's REST API; None if it is empty."""
    request = urllib.request.Request(
        url + path,
        headers={"Authorization": "token " + token, "Content-Type": "application/json"},
        method=method,
        data=None if data is None else json.dumps(data).encode(),
    )
    with urllib.request.urlopen(request, timeout=30, context=TRUSTED) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def send(channels: Any, channel: str, kind: str, content: dict[str, Any]) -> str:
    """Send a message to a kernel; return its number."""
    number = uuid.uuid4().hex
    header = {
        "msg_id": number,
        "msg_type": kind,
        "username": "",
        "session": number,
        "version": "5.3",
        "date": "",
    }
    message = {"channel": channel, "header": header, "content": content}
    channels.send(
        json.dumps(message | {"parent_header": {}, "metadata": {}, "buffers": []}),
    )
    return number


def channels_of(kernel: str, seconds: float) -> Any:
    """A connection to the kernel, over which the kernel has answered.

    During a restart of the kernel, the server may connect to the ports of the old one, or close the
    connection. So this tries again, for so many seconds.
    """
    until = time.monotonic() + seconds
    while True:
        channels = None
        try:
            channels = websocket.create_connection(
                url.replace("http", "ws", 1) + f"/api/kernels/{kernel}/channels",
                timeout=until - time.monotonic(),
                header=["Authorization: token " + token],
            )
            wait_for_kernel(channels, until)
            channels.settimeout(seconds)
            return channels
        except (websocket.WebSocketException, OSError):
            if channels:
                channels.close()
            if time.monotonic() > until - 2:
                raise
            time.sleep(1)


def wait_for_kernel(channels: Any, until: float) -> None:
    """Wait until the kernel answers: R answers on shell only, a busy Python on control only."""
    channels.settimeout(5)
    numbers = {
        send(channels, channel, "kernel_info_request", {}) for channel in ("shell", "control")
    }
    while json.loads(channels.recv())["parent_header"].get("msg_id") not in numbers:
        if time.monotonic() > until:
            raise websocket.WebSocketTimeoutException("the kernel does not answer")


def execute(kernel: str, code: str, seconds: float) -> dict[str, str]:
    """Run `code`; return its stdout, stderr, result, error ("Name: text") and status."""
    output = {"stdout": "", "stderr": "", "result": "", "error": "", "status": "no answer"}
    channels = channels_of(kernel, seconds)
    request = {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    number = send(channels, "shell", "execute_request", request)
    with contextlib.closing(channels):
        try:
            listen(channels, number, output)
        except websocket.WebSocketException as error:
            output["status"] = type(error).__name__
    return output


def listen(channels: Any, number: str, output: dict[str, str]) -> None:
    """Add to `output` the kernel's answers to the message `number`, until the last one has come or
    the kernel has died.
    """
    awaited = {"reply", "idle"}
    while awaited:
        message = json.loads(channels.recv())
        kind, content = message["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] in ("restarting", "dead"):
            output["status"] = content["execution_state"]
            return
        if message["parent_header"].get("msg_id") != number:
            continue
        if kind == "stream":
            output[content["name"]] += content["text"]
        elif kind in ("execute_result", "display_data"):
            output["result"] += content["data"].get("text/plain", "")
        elif kind == "error":
            output["error"] = content["ename"] + ": " + content["evalue"]
        elif kind == "execute_reply":
            output["status"] = content["status"]
            awaited.discard("reply")
        elif kind == "status" and content["execution_state"] == "idle":
            awaited.discard("idle")


def main() -> None:
    functions: dict[str, Callable[..., Any]] = {"ask": ask, "execute": execute}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = functions[name](*arguments)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
