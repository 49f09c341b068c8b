"""What a server reads of people whom it does not know is little, of all of them together, and
nothing outside its own path. A part of the configuration of each server, the hub's and sjupyter's.

Jupyter asks who it is after it has read the whole request, up to 512 MB into memory, which is
counted for the owner's job. And it holds a connection open for whoever opens one, until it has no
descriptor left for its owner.
"""

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

# Connections that people who are not known may have open at the same time, with at most about
# 200 kB each. A browser opens six.
STRANGERS = 200
# Parts of the headers and the address: lines, what stands between semicolons, the fields of the
# query. A browser keeps 180 cookies of a site.
PARTS = 300
# Bytes of a request that are kept whoever sends them: the form of a login has some hundred.
LITTLE = 16_384
LITTLE_SECONDS = 10  # within which they have to come
MOST = 10_000_000  # bytes that are read and forgotten, so that who has to log in anew is told so
SECONDS = 60  # within which they have to come
IDLE_SECONDS = 97  # for which a connection may say nothing; no page asks just as often


class Look(JupyterHandler):
    """A request of which the headers are there: who sends it.

    A page of another user's server sends cookies too, and is unknown without the XSRF token.
    """


class AsksFirst(HTTPMessageDelegate):
    """Passes a request on: all of it, or of somebody unknown no more than a little."""

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
        # Each part takes a hundred times its bytes, once it is an object.
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
        except Exception:  # of whatever is sent, or of a hub that is away
            return False
        finally:
            # it leads back to the look, which would stay with all its headers until the garbage is
            # collected
            look.ui = None


class CarefulServer(HTTPServer):
    """Holds few connections of strangers.

    For the next one it closes the oldest of the address that has the most: so somebody who is about
    to say who they are gets in.
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
        stream.comes_from = str(address[0]) if address else ""
        self.meets(stream)
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return AsksFirst(super().start_request(server_conn, request_conn), request_conn, self)

    def on_close(self, server_conn: Any) -> None:
        # Or it is a WebSocket now, which Jupyter opens for who is known only.
        self.knows(server_conn.stream)
        super().on_close(server_conn)


HTTPServer.configure(CarefulServer, idle_connection_timeout=IDLE_SECONDS)
