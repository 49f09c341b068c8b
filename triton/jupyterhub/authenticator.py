"""PAM with a limit of wrong passwords: whoever guesses has to wait, and delays nobody else.

What it adds to PAMAuthenticator:

* After some wrong passwords for one name, an address must wait before it may try that name again.
  Other addresses need not wait, so nobody can lock out somebody else.
* After many wrong passwords for any names, an address must wait. People who have logged in from
  there need not. An address that many people share, as the login node's, waits for a shorter time.
* A browser in which this name has logged in before has a count of its own, which nobody else can
  fill.
* PAM is not asked about root, system accounts, empty passwords, and impossible names or passwords:
  they are refused.
* An account without a password is refused, even if the system's rules accept it (nullok).
* PAM delays the answer to a wrong password by seconds and blocks a thread meanwhile, so there are
  many threads.
* PAM is asked again from time to time: an account that may no longer log in can use neither its old
  logins nor its tokens.
* A name that belongs to another account, with another number, has neither logins nor tokens: they
  were those of somebody else.
"""

import contextlib
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
from addresses import Authenticator, HubLogin, end_logins, number_of
from jupyterhub import orm
from jupyterhub.utils import compare_token
from profile_spawner import Checks
from sqlalchemy import inspect
from tornado import web
from tornado.concurrent import run_on_executor
from traitlets import Integer, List, Tuple, Unicode

WRONG_SECONDS = 300  # seconds for which a wrong password counts
NAMES = 10_000  # the most names and addresses that are counted; the oldest is dropped first
KNOWN_DAYS = 90  # days for which the hub remembers a browser that has logged in
LONGEST_NAME = 64  # characters; no system has a longer name
LONGEST_PASSWORD = 512  # characters; PAM accepts no longer password
NO_EMPTY_PASSWORD = 1  # PAM_DISALLOW_NULL_AUTHTOK, for which pamela has no name
CLOSED = {
    6,
    7,
    10,
    13,
    # PAM's codes for an account that may not log in: PERM_DENIED, AUTH_ERR, USER_UNKNOWN,
    # ACCT_EXPIRED
}

asked_by_server: ContextVar[bool] = ContextVar(
    "asked_by_server", default=False
)  # whether the current request comes from a server of the user


class Attempts:
    """The times of recent attempts for each key: at most `limit` of them within `seconds`."""

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self.seconds = seconds
        self._times: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def wait(self, key: Hashable) -> int:
        """The seconds until `key` may be tried again; 0 if that is now."""
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
        """Remove the last attempt of `key`."""
        if times := self._times.get(key):
            times.pop()

    def forget(self, key: Hashable) -> None:
        self._times.pop(key, None)


def network(address: str) -> str:
    """The part of an address that belongs to one person: all of IPv4, the first half of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def is_possible(name: str, words: list[str]) -> bool:
    """Whether an account can have this name and these passwords.

    PAM or a directory could take an impossible name for another spelling of an existing account.
    """
    return (
        0 < len(name) <= LONGEST_NAME
        and name.isascii()
        and name.isprintable()
        and " " not in name
        and all(0 < len(word) <= LONGEST_PASSWORD and "\0" not in word for word in words)
    )


def is_token_of_server(token: str, user: orm.User) -> bool:
    """Whether `token` is the token with which a server of this user was started.

    Such a token is also the secret of the server's OAuth client. A token that a user makes never
    is.
    """
    clients = (server.oauth_client for server in user.orm_spawners.values())
    return any(
        client and client.secret and compare_token(client.secret, token) for client in clients
    )


def addresses_of(name: str) -> set[str]:
    """All networks of `name`, a host or an address; empty if the name is unknown."""
    try:
        return {network(str(result[4][0])) for result in socket.getaddrinfo(name, None)}
    except OSError:
        return set()


class CountingAuthenticator(Authenticator):
    """The login at the hub's own name. It counts wrong passwords before it asks PAM."""

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
        self.accounts = Checks()

    async def authenticate(self, handler: Any, data: Any) -> str | None:
        """The name if its password is right, otherwise None. Raises 429 if this person has to wait.

        An attempt counts from its beginning, so many attempts at once give no advantage.
        """
        if handler and not isinstance(handler, HubLogin):
            # The API would accept a password from anybody's page, without an XSRF token.
            return None
        data = data if isinstance(data, dict) else {}
        name, *words = [
            data.get(field)
            for field in ("username", "password", *(["otp"] if self.request_otp else []))
        ]
        if not all(isinstance(word, str) for word in (name, *words)):
            raise web.HTTPError(400, "A user name and a password are needed.")
        if not is_possible(name, words):
            return None
        address, normal = (
            network(handler.request.remote_ip) if handler else "",
            self.normalize_username(name),
        )
        browser = self._known_browser(handler, normal)
        person = (browser or address, normal)
        attempts_of_address = (
            self.by_shared if address in self.shared_addresses else self.by_address
        )
        is_known = bool(browser) or (address, normal) in self.known
        self._refuse_to_wait(self.by_name.wait(person), person)
        if not is_known:
            self._refuse_to_wait(attempts_of_address.wait(address), address)
            attempts_of_address.add(address)
        self.by_name.add(person)
        if await self._lets_in(handler, name, words):
            if not is_known:
                attempts_of_address.take_back(address)
            self.by_name.forget(person)
            if handler and (user := orm.User.find(handler.db, normal)):
                await self.refresh_user(user)
            self._welcome(handler, address, normal)
            return str(name)
        if self.by_name.wait(person) or attempts_of_address.wait(address):
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
        """Whether `name` belongs to a person, and PAM accepts the password.

        PAMAuthenticator itself passes no flags to PAM.
        """
        if not self._is_person(name):
            return False
        # This object must exist for as long as PAM works.
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
        """Whether `name` may belong to a person.

        A system account does not, nor does an account whose lower-case name is another account. An
        unknown name may.
        """
        numbers = set()
        for spelling in (name, self.normalize_username(name)):
            with contextlib.suppress(KeyError):
                numbers.add(pwd.getpwnam(spelling).pw_uid)
        return len(numbers) < 2 and not any(
            first <= number <= last for number in numbers for first, last in self.system_uids
        )

    def _welcome(self, handler: object, *person: str) -> None:
        """Record, here and in the browser, that `person` (an address and a name) has logged in."""
        self.known[person] = None
        self.known.move_to_end(person)
        if len(self.known) > NAMES:
            self.known.popitem(last=False)
        if isinstance(handler, HubLogin):
            handler.remember(person[1], KNOWN_DAYS)

    def _known_browser(self, handler: object, name: str) -> str:
        """The value of this browser's cookie if `name` has logged in there before; otherwise "".

        A page of another site cannot send the login form.
        """
        return handler.remembers(name, KNOWN_DAYS) if isinstance(handler, HubLogin) else ""

    # JupyterHub checks each login again after auth_refresh_age, and before a start.

    async def refresh_user(self, user: Any, handler: Any = None) -> bool:
        """Whether the account may still log in, and is the one that has logged in.

        Nothing changes if PAM does not answer, or if only the password has expired.
        """

        def ask() -> int:
            pamela.check_account(user.name, service=self.service, encoding=self.encoding)
            return pwd.getpwnam(user.name).pw_uid

        try:
            number = await self.accounts.check(user.name, self.account_seconds, ask)
            return not self._has_changed(getattr(user, "orm_user", user), number)
        except (TimeoutError, KeyError):  # or the name has no number just now
            self.log.warning("PAM does not say whether the account %s is open", user.name)
        except pamela.PAMError as error:
            if error.errno in CLOSED:
                token = handler and handler.get_auth_token()
                asked_by_server.set(bool(token) and is_token_of_server(token, user.orm_user))
                return False
            self.log.warning(
                "PAM does not say whether the account %s is open: %s", user.name, error
            )
        return True

    async def add_user(self, user: Any) -> None:
        """Note the number of an account: at its first login, and of each when the hub starts."""
        await super().add_user(user)
        self._has_changed(getattr(user, "orm_user", user), pwd.getpwnam(user.name).pw_uid)

    def _has_changed(self, user: orm.User, number: int) -> bool:
        """Whether the name belonged to an account with another number. Then all that the other
        one could log in with is forgotten. `number` is noted.
        """
        before = number_of(user)
        if before == str(number):
            return False
        end_logins(user, str(number))
        db = inspect(user).session
        for old in (*user.api_tokens, *user.oauth_codes) if before else ():
            db.delete(old)
        db.commit()
        if before:
            self.log.warning(
                "%s had the number %s, and has %s now: its logins and tokens are forgotten",
                user.name,
                before,
                number,
            )
        return bool(before)

    @property
    def auth_refresh_strict(self) -> bool:
        """Whether a request fails when refresh_user returns False.

        Requests of people do. Requests of servers do not: the servers run on and report to the hub.
        """
        return not asked_by_server.get()
