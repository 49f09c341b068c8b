"""Under which names the hub and users' servers answer, and whose address a request comes from.

A page can act with all the logins of its own origin, so each user's server has a name of its own,
and the hub lets people log in at its own name only.
"""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from clusterfacts import Hosts  # copied from triton/lib
from jupyterhub.auth import PAMAuthenticator
from jupyterhub.handlers.login import LoginHandler, LogoutHandler
from jupyterhub.utils import url_path_join
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, OutputTransform


def own_names(hosts: Hosts) -> bool:
    """Whether each user's server has a name of its own below the hub's, by the facts in `hosts`.

    Ends the program with a sentence if hosts.servers is neither that nor the hub's name.
    """
    if hosts.servers not in (f"*.{hosts.hub}", hosts.hub):
        raise SystemExit(
            f'facts.toml: hosts.servers is {hosts.servers!r}. Write "*.{hosts.hub}"; '
            f'where there is no wildcard name, write "{hosts.hub}" and read README.md.'
        )
    return hosts.servers != hosts.hub


def inside(name: str) -> str:
    """The address that `name` stands for, at which the compute nodes reach this host.

    Ends the program with a sentence if the name has no address, or one that stays in this host.
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
    """The page of the login, at the hub's own name.

    The proxy sends to the hub what has no other route. So this page would also appear at the name
    of a user's server, and that server would get the password and the cookie. Nor may a page there
    send the form: the reader would be logged in as somebody else, and write into that person's
    files.
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
        """Whether the browser says so. A program that is no browser says nothing, and may send."""
        if site := self.request.headers.get("Sec-Fetch-Site"):
            return site in ("same-origin", "none")
        public = self.settings["public_url"]
        return self.request.headers.get("Origin") in (None, f"{public.scheme}://{public.netloc}")

    # The browser remembers who has logged in, so that its wrong passwords are counted apart. This
    # cookie goes where the cookie of the login goes.

    @property
    def _known_cookie(self) -> str:
        return (
            "__Host-" if self.hub.cookie_name.startswith("__Host-") else ""
        ) + "jupyterhub-known"

    def remember(self, name: str, days: float) -> None:
        self._set_cookie(self._known_cookie, name, path=self.hub.base_url, expires_days=days)

    def remembers(self, name: str, days: float) -> str:
        """The cookie, if it says that `name` has logged in here within so many days; else ""."""
        said = self.get_secure_cookie(self._known_cookie, max_age_days=days)
        return self.get_cookie(self._known_cookie) if said == name.encode() else ""


class HubLogout(LogoutHandler):
    """Logs out at a click on a page of the hub, or of the user's own server. A person who follows a
    link of another page is asked first.
    """

    async def get(self) -> None:
        site, user = self.request.headers.get("Sec-Fetch-Site", "none"), self.current_user
        sender = urlsplit(self.request.headers.get("Referer", ""))
        if (
            user
            and site not in ("same-origin", "none")
            and f"{sender.scheme}://{sender.netloc}" != user.host
        ):
            self.redirect(url_path_join(self.hub.base_url, "home"))  # with a button that logs out
            return
        await super().get()


class Authenticator(PAMAuthenticator):
    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        return [("/login", HubLogin), ("/logout", HubLogout)]


class TrueAddress(OutputTransform):
    """Gives each request the address from which the proxy got it, for the log and for all limits.

    Tornado would believe X-Real-Ip, and from a compute node X-Forwarded-For too, which anybody
    can send. The proxy writes the true address at the end of X-Forwarded-For. What comes to the
    hub without the proxy has the address of its connection.

    A `next` with an end of line in it is forgotten: no address has one, and no header may have one.
    So is an address that names thousands of scopes: the hub would compare them for seconds.
    """

    proxies = frozenset[str]()
    longest_scopes = 4000  # bytes; a body of a request is no longer either

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
                request.uri = request.path  # from which the hub reads scopes too
