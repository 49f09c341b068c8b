"""The host names of the hub and of users' servers, and the true address of a request.

A page can use all logins of its own origin. So each user's server has a name of its own, and the
hub accepts logins at its own name only.
"""

import ipaddress
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from clusterfacts import Hosts  # copied from triton/lib
from jupyterhub import orm
from jupyterhub.auth import PAMAuthenticator
from jupyterhub.handlers.login import LoginHandler, LogoutHandler
from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.utils import new_token, url_path_join
from tornado.httputil import HTTPServerRequest
from tornado.iostream import SSLIOStream
from tornado.web import HTTPError, OutputTransform


def own_names(hosts: Hosts) -> bool:
    """Whether `hosts` gives each user's server a name of its own, below the hub's name.

    Ends the program with a message if hosts.servers is neither the wildcard below the hub's name
    nor the hub's name itself.
    """
    if hosts.servers not in (f"*.{hosts.hub}", hosts.hub):
        raise SystemExit(
            f'facts.toml: hosts.servers is {hosts.servers!r}. Write "*.{hosts.hub}"; '
            f'where there is no wildcard name, write "{hosts.hub}" and read README.md.'
        )
    return hosts.servers != hosts.hub


def inside(name: str) -> str:
    """The IP address of `name`, at which the compute nodes reach this host.

    Ends the program with a message if the name has no address, or one that only this host can
    reach.
    """
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        raise SystemExit(
            f"facts.toml: hosts.inside is {name!r}, which has no address here: {error.strerror}. "
            "Write the name by which the compute nodes reach this host."
        ) from None
    if ipaddress.ip_address(address).is_loopback or ipaddress.ip_address(address).is_unspecified:
        raise SystemExit(
            f"facts.toml: hosts.inside is {name!r}, and that is {address} here, which no compute "
            "node reaches. Give the name the address of the cluster's network in /etc/hosts."
        )
    return address


class HubLogin(LoginHandler):
    """The login page, which exists at the hub's own name only.

    The proxy sends every request without a route to the hub. So the login page would also appear at
    the name of a user's server, and that server would receive the password and the cookie.

    A page of another site may not send the form either: it could log the reader in to another
    account, and the reader would then write into files of that account.
    """

    async def prepare(self) -> None:
        own = self.settings["subdomain_host"]
        if own and self.request.host != own.partition("://")[2]:
            self.redirect(url_path_join(own, self.request.path))
            return
        await super().prepare()
        if self.request.method == "POST" and not self._is_sent_by_own_page():
            raise HTTPError(403, "Another page has sent this form. Log in with this one.")

    def _is_sent_by_own_page(self) -> bool:
        """Whether the browser says that a page of the hub sent the form. A program that is not a
        browser sends neither header, and is allowed.
        """
        if site := self.request.headers.get("Sec-Fetch-Site"):
            return site in ("same-origin", "none")
        public = self.settings["public_url"]
        return self.request.headers.get("Origin") in (None, f"{public.scheme}://{public.netloc}")

    # A cookie marks a browser in which somebody has logged in. The wrong passwords of that browser
    # are counted apart. The cookie has the scope of the login cookie.

    @property
    def _known_cookie(self) -> str:
        return (
            "__Host-" if self.hub.cookie_name.startswith("__Host-") else ""
        ) + "jupyterhub-known"

    def remember(self, name: str, days: float) -> None:
        self._set_cookie(self._known_cookie, name, path=self.hub.base_url, expires_days=days)

    def remembers(self, name: str, days: float) -> str:
        """The cookie, if it shows that `name` has logged in here within `days` days; else ""."""
        name_in_cookie = self.get_secure_cookie(self._known_cookie, max_age_days=days)
        return self.get_cookie(self._known_cookie) if name_in_cookie == name.encode() else ""


# What a login cookie holds is unknown to others. It begins with the number of the account, so that
# the hub notices when a name belongs to another account.


def number_of(user: orm.User) -> str:
    """The number that the account `user` had at its last login; "" if it is not known."""
    number, slash, _ = user.cookie_id.partition("/")
    return number if slash else ""


def end_logins(user: orm.User, number: str) -> None:
    """End all logins of `user`, in all browsers. `number` is that of the account."""
    user.cookie_id = f"{number}/{new_token()}"


class HubLogout(LogoutHandler):
    """Logs out when the request comes from a page of the hub or of the user's own server. Someone
    who follows a link of another page first sees the home page, with its logout button.

    The request must be for a page. A text of others that the user only opens, in JupyterLab for
    example, may have a picture with this address.
    """

    def clear_login_cookie(self, name: str | None = None) -> None:
        """Log the reader out of the servers, too, whatever is in the session's cookie, and in all
        browsers: somebody else may know the password, and may have logged in.

        JupyterHub ends the logins of the session in that cookie, and the page of another user can
        set it.
        """
        if user := self.get_current_user_cookie():
            logins = orm.APIToken.user_id == user.id, orm.APIToken.session_id.isnot(None)
            for token in self.db.query(orm.APIToken).filter(*logins):
                self.db.delete(token)
            end_logins(user.orm_user, number_of(user.orm_user))
            self.db.commit()
        super().clear_login_cookie(name)

    async def get(self) -> None:
        site, user = self.request.headers.get("Sec-Fetch-Site", "none"), self.current_user
        sender = urlsplit(self.request.headers.get("Referer", ""))
        is_own = site in ("same-origin", "none") or (
            user and f"{sender.scheme}://{sender.netloc}" == user.host
        )
        is_page = self.request.headers.get("Sec-Fetch-Dest", "document") == "document"
        if user and not (is_own and is_page):
            self.redirect(url_path_join(self.hub.base_url, "home"))
            return
        await super().get()


class HubSpawn(SpawnHandler):
    """The form for a named server. JupyterHub notes a new name as soon as its form is asked for,
    with words of the address for the home page. A user has few, so only a page of the hub can ask.
    """

    def get(self, user_name: str, server_name: str) -> Any:
        user, headers = self.current_user, self.request.headers
        is_new = bool(user) and server_name not in user.orm_spawners
        if is_new and headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            self.redirect(url_path_join(self.hub.base_url, "home"))
            return None
        return super().get(user_name, server_name)


class Authenticator(PAMAuthenticator):
    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        return [
            ("/login", HubLogin),
            ("/logout", HubLogout),
            ("/spawn/([^/]+)/([^/]+)", HubSpawn),
        ]


class KnownFiles(CacheControlStaticFilesHandler):
    """Sends files of the hub's pages. Tornado looks for links in each part of a name, for a second
    if there are thousands. No file has a name of more than 4096 bytes.
    """

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        if len(absolute_path) > 4096:
            raise HTTPError(404)
        path: str | None = super().validate_absolute_path(root, absolute_path)
        return path


class TrueAddress(OutputTransform):
    """Gives each request the true address of its sender, for the log and for all limits.

    Tornado would trust X-Real-Ip and, from a compute node, X-Forwarded-For, which anybody can send.
    The proxy writes the true address at the end of X-Forwarded-For. A request that reaches the hub
    without the proxy gets the address of its connection.

    A `next` argument with a line break is removed: no address and no header may contain one. An
    address with thousands of scopes loses its arguments: the hub would spend seconds comparing
    them.
    """

    proxies = frozenset[str]()
    longest_scopes = 4000  # bytes; the same limit as for a request's body

    def __init__(self, request: HTTPServerRequest) -> None:
        connection: Any = request.connection
        stream = connection.stream
        peer = stream.socket.getpeername()[0] if stream.socket else request.remote_ip
        forwarded = request.headers.get_list("X-Forwarded-For")
        if peer in self.proxies and forwarded:
            peer = forwarded[-1].rpartition(",")[2].strip().removeprefix("::ffff:")
        request.remote_ip = peer
        for arguments in (request.arguments, request.query_arguments):
            if any(set(value) & {*range(32), 127} for value in arguments.get("next", [])):
                del arguments["next"]
            scopes = arguments.get("scope", []) + arguments.get("scopes", [])
            if sum(map(len, scopes)) > self.longest_scopes:
                arguments.clear()
                request.uri = request.path  # the hub reads scopes from the uri too


# A server on a node may ask the hub without the proxy, which makes one piece of many.
TINY = 64  # bytes of a record of TLS
MOST_TINY = 500  # in a second, of one connection
_read = SSLIOStream.read_from_fd


def no_tiny_records(stream: Any, buffer: bytearray | memoryview) -> int | None:
    """Read from a connection to the hub; end it if it sends very many tiny records.

    Tornado works on each of them, and does nothing else as long as there are more.
    """
    number = _read(stream, buffer)
    if number and number < TINY:
        since, count = getattr(stream, "tiny_records", (0.0, 0))
        if time.monotonic() - since > 1:
            since, count = time.monotonic(), 0
        stream.tiny_records = since, count + 1
        if count >= MOST_TINY:
            return 0  # as if this were its end
    return number
