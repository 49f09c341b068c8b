"""PAM behind a count of wrong passwords: who guesses waits, and nobody waits for those who guess.

What it does that PAMAuthenticator does not:

* after some wrong passwords for a name from one address, that address waits before it may try this
  name again; the same name from another address does not, so nobody locks out somebody else;
* after many wrong passwords for whatever names, an address waits too; people who have logged in
  from there do not; an address that many people share, that of the login node, waits for less long;
* a browser in which this name has logged in before has a count of its own: nobody else fills it;
* root, system accounts, empty passwords and what no name or password can be are refused, and PAM is
  not asked;
* an account without a password is refused, though the system's rules may let it in (nullok);
* a wrong password holds its thread for the seconds that PAM delays it, so there are many threads;
* who may not log in any more cannot use a login or a token of before: PAM is asked again, now and
  then.
"""

import contextlib
import functools
import ipaddress
import math
import pwd
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from contextvars import ContextVar
from typing import Any

import pamela
from addresses import Authenticator, HubLogin
from jupyterhub import orm
from jupyterhub.utils import compare_token
from profile_spawner import Looks
from tornado import web
from tornado.concurrent import run_on_executor
from traitlets import Integer, List, Tuple, Unicode

WRONG_SECONDS = 300  # a wrong password counts for so long
NAMES = 10_000  # so many names and addresses are counted; the oldest is forgotten first
KNOWN_DAYS = 90  # for so long the hub knows a browser that has logged in
LONGEST_NAME = 64  # no system has a longer one
LONGEST_PASSWORD = 512  # PAM takes no longer one
NO_EMPTY_PASSWORD = 1  # PAM_DISALLOW_NULL_AUTHTOK, for which pamela has no name
CLOSED = {
    6,
    7,
    10,
    13,
    # what PAM says of an account that may not log in: PERM_DENIED, AUTH_ERR, USER_UNKNOWN,
    # ACCT_EXPIRED
}

by_a_server: ContextVar[bool] = ContextVar(
    "by_a_server", default=False
)  # whether a server of the user makes the request that is answered


class Attempts:
    """When each of many keys was tried last: at most `limit` times within `seconds`."""

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self.seconds = seconds
        self._times: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def wait(self, key: Hashable) -> int:
        """The seconds until `key` may be tried again; 0 if it may be now."""
        times, now = self._times.get(key, deque()), time.monotonic()
        while times and times[0] <= now - self.seconds:
            times.popleft()
        if len(times) < self.limit:
            return 0
        return math.ceil(times[0] + self.seconds - now)

    def add(self, key: Hashable) -> None:
        self._times.setdefault(key, deque()).append(time.monotonic())
        self._times.move_to_end(key)
        if len(self._times) > NAMES:
            self._times.popitem(last=False)

    def take_back(self, key: Hashable) -> None:
        """Forget the last attempt of `key`."""
        if times := self._times.get(key):
            times.pop()

    def forget(self, key: Hashable) -> None:
        self._times.pop(key, None)


def network(address: str) -> str:
    """The part of an address that one person has: all of IPv4, the first half of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def can_be(name: str, words: list[str]) -> bool:
    """Whether a name and passwords can be those of an account.

    What cannot is another spelling, which PAM or a directory would take for the same account.
    """
    return (
        0 < len(name) <= LONGEST_NAME
        and name.isascii()
        and name.isprintable()
        and " " not in name
        and all(0 < len(word) <= LONGEST_PASSWORD and "\0" not in word for word in words)
    )


def is_of_a_server(token: str, user: orm.User) -> bool:
    """Whether a server of this user was started with `token`.

    That token is also the secret of the server's OAuth client. No token that a user makes is.
    """
    clients = (server.oauth_client for server in user.orm_spawners.values())
    return any(
        client and client.secret and compare_token(client.secret, token) for client in clients
    )


def addresses_of(name: str) -> set[str]:
    """All networks of `name`, a host or an address; none if nobody knows it."""
    try:
        return {network(str(found[4][0])) for found in socket.getaddrinfo(name, None)}
    except OSError:
        return set()


class CountingAuthenticator(Authenticator):
    """The login at the hub's own name, which counts wrong passwords before it asks PAM."""

    wrong_per_name = Integer(10, help="Wrong passwords for one name from one address.").tag(
        config=True
    )
    wrong_per_address = Integer(60, help="Wrong passwords from one address.").tag(config=True)
    wrong_seconds = Integer(
        WRONG_SECONDS, help="For how many seconds a wrong password counts."
    ).tag(config=True)
    shared = List(
        Unicode(), help="Names or addresses of hosts through which many people come."
    ).tag(config=True)
    shared_seconds = Integer(
        30, help="For how many seconds a wrong password counts for the address of such a host."
    ).tag(config=True)
    account_seconds = Integer(
        5,
        help="In which PAM has to say that an account is closed; without an answer all is as "
        "before.",
    ).tag(config=True)
    system_uids = List(
        Tuple(Integer(), Integer()),
        [(0, 999), (60_000, 65_535)],
        help="(first, last) numbers of accounts that are no people's.",
    ).tag(config=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.by_name = Attempts(self.wrong_per_name, self.wrong_seconds)
        self.by_address = Attempts(self.wrong_per_address, self.wrong_seconds)
        self.by_shared = Attempts(self.wrong_per_address, self.shared_seconds)
        self.shared_addresses = set().union(*map(addresses_of, self.shared))
        self.known: OrderedDict[Hashable, None] = OrderedDict()
        self.accounts = Looks()

    async def authenticate(self, handler: Any, data: Any) -> str | None:
        """The name, if its password is right; else None. Raises 429 if this person has to wait.

        An attempt counts as soon as it begins, so it does not help to make many at once.
        """
        if handler and not isinstance(handler, HubLogin):
            return None  # the API takes a password from a page of anybody, without an XSRF token
        data = data if isinstance(data, dict) else {}
        name, *words = [
            data.get(field)
            for field in ("username", "password", *(["otp"] if self.request_otp else []))
        ]
        if not all(isinstance(word, str) for word in (name, *words)):
            raise web.HTTPError(400, "A user name and a password are needed.")
        if not can_be(name, words):
            return None
        address, normal = (
            network(handler.request.remote_ip) if handler else "",
            self.normalize_username(name),
        )
        browser = self._known_browser(handler, normal)
        person = (browser or address, normal)
        of_all = self.by_shared if address in self.shared_addresses else self.by_address
        is_known = bool(browser) or (address, normal) in self.known
        self._refuse_to_wait(self.by_name.wait(person), person)
        if not is_known:
            self._refuse_to_wait(of_all.wait(address), address)
            of_all.add(address)
        self.by_name.add(person)
        if await self._lets_in(handler, name, words):
            if not is_known:
                of_all.take_back(address)
            self.by_name.forget(person)
            self._welcome(handler, address, normal)
            return str(name)
        if self.by_name.wait(person) or of_all.wait(address):
            self.log.warning("Too many wrong passwords from %s, the last for %r", address, normal)
        return None

    def _refuse_to_wait(self, seconds: int, who: Hashable) -> None:
        if seconds:
            text = f"{seconds} seconds" if seconds < 100 else f"{math.ceil(seconds / 60)} minutes"
            error: Any = web.HTTPError(429, f"Too many wrong passwords. Try again in {text}.")
            error.headers = {"Retry-After": str(seconds)}
            raise error

    @run_on_executor
    def _lets_in(self, handler: Any, name: str, words: list[str]) -> bool:
        """Whether `name` is a person's, and PAM takes the password.

        PAMAuthenticator itself passes PAM no flag.
        """
        if not self._is_person(name):
            return False
        # This object must live for as long as PAM asks.
        conversation = pamela.new_simple_password_conv(words, self.encoding)
        try:
            handle = pamela.pam_start(self.service, name, conversation, self.encoding)
            pamela.pam_end(
                handle,
                pamela.PAM_AUTHENTICATE(handle, NO_EMPTY_PASSWORD)
                or pamela.PAM_ACCT_MGMT(handle, 0),
            )
        except pamela.PAMError as error:
            self.log.warning(
                "PAM refuses %s (%s): %s",
                name,
                handler.request.remote_ip if handler else "no address",
                error,
            )
            return False
        return True

    def _is_person(self, name: str) -> bool:
        """Whether `name` may be a person's: not an account of the system, and the same account in
        small letters. An unknown name may be one.
        """
        numbers = set()
        for spelling in (name, self.normalize_username(name)):
            with contextlib.suppress(KeyError):
                numbers.add(pwd.getpwnam(spelling).pw_uid)
        return len(numbers) < 2 and not any(
            first <= number <= last for number in numbers for first, last in self.system_uids
        )

    def _welcome(self, handler: object, *person: str) -> None:
        """Note, here and in the browser, that `person`, an address and a name, has logged in."""
        self.known[person] = None
        self.known.move_to_end(person)
        if len(self.known) > NAMES:
            self.known.popitem(last=False)
        if isinstance(handler, HubLogin):
            handler.remember(person[1], KNOWN_DAYS)

    def _known_browser(self, handler: object, name: str) -> str:
        """A text that only this browser has, if `name` has logged in there before; else "".

        A page of somebody else cannot send the form of the login.
        """
        return handler.remembers(name, KNOWN_DAYS) if isinstance(handler, HubLogin) else ""

    # Who has logged in: JupyterHub asks again after auth_refresh_age, and before a start.

    async def refresh_user(self, user: Any, handler: Any = None) -> bool:
        """Whether the account may still log in.

        An answer that PAM does not give, or a password that has become too old, changes nothing.
        """
        ask = functools.partial(
            pamela.check_account, user.name, service=self.service, encoding=self.encoding
        )
        try:
            await self.accounts.look(user.name, self.account_seconds, ask)
        except TimeoutError:
            self.log.warning("PAM does not say whether the account %s is open", user.name)
        except pamela.PAMError as error:
            if error.errno in CLOSED:
                token = handler and handler.get_auth_token()
                by_a_server.set(bool(token) and is_of_a_server(token, user.orm_user))
                return False
            self.log.warning(
                "PAM does not say whether the account %s is open: %s", user.name, error
            )
        return True

    @property
    def auth_refresh_strict(self) -> bool:
        """Whether a request ends when refresh_user says no.

        Requests of people do. Those of servers do not: they run on, and report to the hub.
        """
        return not by_a_server.get()
