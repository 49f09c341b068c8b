"""What a server reads of somebody whom it does not know is little, and nothing outside its own path. A part of the configuration of each
server, the hub's and sjupyter's.

Jupyter asks who it is after it has read the whole request, up to 512 MB into memory, which is counted for the owner's job.
"""
import contextlib
import re
from collections.abc import Awaitable
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine
from tornado.web import ErrorHandler

LITTLE = 16_384         # bytes of a request that are kept whoever sends them: the form of a login has some hundred
MOST = 10_000_000       # bytes that are read and forgotten, so that who has to log in anew is told so
SECONDS = 60            # within which they have to come
IDLE_SECONDS = 97       # for which a connection may say nothing; no page asks just as often


class Look(JupyterHandler):
    """A request of which the headers are there: who sends it. A page of another user's server sends cookies too, and is unknown without the XSRF token."""


class AsksFirst(HTTPMessageDelegate):
    """Passes a request on: all of it, or of somebody unknown no more than a little."""

    def __init__(self, passes_on: HTTPMessageDelegate, connection: Any, application: Any) -> None:
        self.connection, self.application = connection, application
        self._pass_on_to(passes_on)

    def _pass_on_to(self, passes_on: HTTPMessageDelegate) -> None:
        self.passes_on = passes_on
        self.data_received, self.finish, self.on_connection_close = passes_on.data_received, passes_on.finish, passes_on.on_connection_close

    async def headers_received(self, start_line: RequestStartLine, headers: HTTPHeaders) -> None:
        request = HTTPServerRequest(connection=self.connection, start_line=start_line, headers=headers)
        if not f"{request.path}/".startswith(self.application.settings["base_url"]):      # Jupyter's own page of what is not found tells that path
            self._pass_on_to(self.application.get_handler_delegate(request, ErrorHandler, {"status_code": 404}))
        length = headers.get("Content-Length", "0")
        is_little = "Transfer-Encoding" not in headers and re.fullmatch(r"\d{1,5}", length) and int(length) <= LITTLE
        if is_little or not await self._is_known(request):
            self.connection.set_max_body_size(MOST)
            self.connection.set_body_timeout(SECONDS)
            if not is_little:
                self.data_received = self._forget
        if awaitable := self.passes_on.headers_received(start_line, headers):
            await awaitable

    def _forget(self, chunk: bytes) -> None:
        pass

    async def _is_known(self, request: HTTPServerRequest) -> bool:
        with contextlib.suppress(Exception):      # of whatever is sent, or of a hub that is away: nobody is known then
            look = Look(self.application, request)
            user = look.identity_provider.get_user(look)
            return bool(await user if isinstance(user, Awaitable) else user)
        return False


class CarefulServer(HTTPServer):
    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return AsksFirst(super().start_request(server_conn, request_conn), request_conn, self.request_callback)


HTTPServer.configure(CarefulServer, idle_connection_timeout=IDLE_SECONDS)
