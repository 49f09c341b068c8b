"""A server of a user that answers without end, as the user's configuration of Jupyter.

It tells the hub that more will follow, again and again, until there is a file ~/good; then the hub
gets a good answer, and everybody else one in endless tiny chunks. A file ~/asked-PORT says that
the hub has asked.
"""

import asyncio
import contextlib
import os
import ssl
import urllib.parse
from pathlib import Path

service = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
certificate, key, authorities = (
    os.environ[f"JUPYTERHUB_SSL_{name}"] for name in ("CERTFILE", "KEYFILE", "CLIENT_CA")
)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authorities)
context.load_cert_chain(certificate, key)
context.verify_mode = ssl.CERT_REQUIRED
MORE = b"HTTP/1.1 100 Continue\r\n\r\n" * 4000
GOOD = b"HTTP/1.1 200 OK\r\nX-JupyterHub-Version: 6.1.1\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def answer(reader, writer):
    with contextlib.suppress(OSError, EOFError):
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        data = b"1\r\na\r\n" * 10_000
        if path != service.path.encode() + b"api":
            writer.write(CHUNKED)
        elif Path("~/good").expanduser().exists():
            writer.write(GOOD)
            data = b""
        else:
            Path(f"~/asked-{service.port}").expanduser().touch()
            data = MORE
        while data and not writer.is_closing():
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)
        await writer.drain()
    writer.close()


async def serve():
    server = await asyncio.start_server(answer, "0.0.0.0", service.port, ssl=context)
    await server.serve_forever()


os.nice(19)  # all hosts are one machine: this server shall not take the time of the others
asyncio.run(serve())
