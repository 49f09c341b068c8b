"""A server reads little from people whom it does not know, and nothing outside its own path.

This is a part of the configuration of each server, the hub's and sjupyter's.

Jupyter itself reads a whole request, up to 512 MB, into memory before it asks who has sent it, and
that memory counts for the owner's job. And it keeps every connection open that anybody opens, until
no descriptor is left for the owner.
"""

import ipaddress
import os
import re
from collections import Counter
from collections.abc import Awaitable
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream
from tornado.web import ErrorHandler

# All unknown people together may have so many connections open. Each takes at most about 200 kB. A
# browser opens six.
STRANGERS = 200
# The headers and the address together may have so many parts: lines, words between semicolons,
# fields of the query. A browser keeps 180 cookies of a site.
PARTS = 300
# So many bytes of a request are kept, whoever sends them. The form of a login has some hundred.
LITTLE = 16_384
LITTLE_SECONDS = 10  # such a request must come within so long
# So many bytes are read and forgotten: a person whose login has run out sends them, and must get
# the answer that says so.
MOST = 10_000_000
SECONDS = 60  # such a request must come within so long
IDLE_SECONDS = 97  # a connection may be silent for so long; no page asks at just that interval


def origin(address: str) -> str:
    """What one sender has for an address: of loopback ones all, the first half of one of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # of a Unix socket, which only its owner can open
        return address
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    if parsed.is_loopback:
        return "loopback"
    return str(ipaddress.ip_network((parsed, 64 if parsed.version == 6 else 32), strict=False))


class Look(JupyterHandler):
    """Tells who sends a request, from its headers alone.

    A page of another user's server sends cookies too. Without the XSRF token it counts as unknown.
    """


class AsksFirst(HTTPMessageDelegate):
    """Passes a request on: all of it, but only a little if nobody knows who sends it."""

    def __init__(
        self, passes_on: HTTPMessageDelegate, connection: Any, server: "CarefulServer"
    ) -> None:
        self.connection = connection
        self.server = server
        self.application: Any = server.request_callback  # Jupyter's; for tornado, any callable
        self.passes_on = passes_on
        self.forgets = False

    async def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, RequestStartLine)  # this is a server's side
        # As an object, each part takes a hundred times the memory of its bytes.
        parts = start_line.path.count("&")
        parts += sum(value.count(";") + 1 for _, value in headers.get_all())
        if parts > PARTS:
            self.connection.detach().close()
            return
        request = HTTPServerRequest(
            connection=self.connection, start_line=start_line, headers=headers
        )
        is_own = f"{request.path}/".startswith(self.application.settings["base_url"])
        if not is_own:  # Jupyter's own page of what is not found tells that path
            self.passes_on = self.application.get_handler_delegate(
                request, ErrorHandler, {"status_code": 404}
            )
        if is_own and await self._is_known(request):
            self.server.knows(self.connection.stream)
        else:
            self.server.meets(self.connection.stream)
            length = headers.get("Content-Length", "0")
            is_little = (
                "Transfer-Encoding" not in headers
                and re.fullmatch(r"\d{1,5}", length)
                and int(length) <= LITTLE
            )
            self.connection.set_max_body_size(MOST)
            self.connection.set_body_timeout(LITTLE_SECONDS if is_little else SECONDS)
            self.forgets = not is_little
        if awaitable := self.passes_on.headers_received(start_line, headers):
            await awaitable

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return None if self.forgets else self.passes_on.data_received(chunk)

    def finish(self) -> None:
        self.passes_on.finish()

    def on_connection_close(self) -> None:
        self.passes_on.on_connection_close()

    async def _is_known(self, request: HTTPServerRequest) -> bool:
        look = Look(self.application, request)
        self.connection.set_close_callback(None)
        try:
            user = look.identity_provider.get_user(look)
            return bool(await user if isinstance(user, Awaitable) else user)
        except Exception:  # anything may be sent, and the hub may be away
            return False
        finally:
            # It refers back to the look, which would stay in memory with all its headers until
            # Python collects the garbage.
            look.ui = None


class CarefulServer(HTTPServer):
    """Keeps few connections of unknown people.

    When there are too many, it closes the oldest one of the address that has the most. So a person
    who is about to log in from elsewhere gets in.
    """

    def initialize(self, *args: Any, **options: Any) -> None:
        super().initialize(*args, **options)
        self.strangers: dict[IOStream, str] = {}  # and where each comes from; the oldest first

    def meets(self, stream: IOStream) -> None:
        self.strangers.setdefault(stream, getattr(stream, "comes_from", ""))
        while len(self.strangers) > STRANGERS:
            [(busiest, _)] = Counter(self.strangers.values()).most_common(1)
            oldest = next(each for each, origin in self.strangers.items() if origin == busiest)
            self.knows(oldest)
            oldest.close()

    def knows(self, stream: IOStream) -> None:
        self.strangers.pop(stream, None)

    def handle_stream(self, stream: Any, address: tuple[Any, ...]) -> None:
        stream.comes_from = origin(str(address[0])) if address else ""
        self.meets(stream)
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return AsksFirst(super().start_request(server_conn, request_conn), request_conn, self)

    def on_close(self, server_conn: Any) -> None:
        # Or it is a WebSocket now, which Jupyter opens for who is known only.
        self.knows(server_conn.stream)
        super().on_close(server_conn)


HTTPServer.configure(CarefulServer, idle_connection_timeout=IDLE_SECONDS)

# JupyterLab's Git tab asks git about the folder that is open. In what people copy from others, a
# folder may look like a bare repository, whose settings name programs that git runs. Here git takes
# such a folder for a repository only if a command names it so.
if "safe.bareRepository" not in os.environ.values():
    _number = os.environ.get("GIT_CONFIG_COUNT", "")
    _number = _number if _number.isdecimal() else "0"
    os.environ[f"GIT_CONFIG_KEY_{_number}"] = "safe.bareRepository"
    os.environ[f"GIT_CONFIG_VALUE_{_number}"] = "explicit"
    os.environ["GIT_CONFIG_COUNT"] = str(int(_number) + 1)
