"""A user's server proves with a certificate whose server it is, so that nobody else gets its data.

A server on a shared node is one process among others. Once it has ended, anybody there can listen
at its port. So JupyterHub's internal_ssl is on: the hub has its own certificate authority, and
proxy, hub and servers only talk to peers with a certificate of it.

JupyterHub would write the node's name into the certificate, which all servers on that node would
share. Here the certificate has the name of the user's servers, and no other. The proxy checks that
name, since the browser uses it.
"""

import asyncio
import datetime
import functools
import http.client
import io
import re
import ssl
import time
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from batchspawner.batchspawner import SlurmSpawner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jupyterhub.objects import Server
from jupyterhub.spawner import Spawner
from jupyterhub.utils import make_ssl_context, url_path_join

ANSWER_SECONDS = 2
ANSWER_BYTES = 4096  # of an answer's headers, at most
# JupyterHub's name for the authority that signs the certificates of users' servers
AUTHORITY = "notebooks-ca"
USES = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]


class NoCookies(aiohttp.DummyCookieJar):
    """A cookie jar that keeps no cookie of a server. JupyterHub copies its configuration, and a jar
    of aiohttp cannot be copied.
    """

    def __init__(self) -> None:
        """Needs no running event loop, unlike the jars of aiohttp: `jupyterhub token` has none."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "NoCookies":
        return self


def key_and_certificate(store: Path, name: str) -> tuple[str, str]:
    """A new key and its certificate for the host name `name`, as PEM.

    internal_ssl has put the authority into `store`. The certificate is valid for as long as the
    authority is. Nothing is written.
    """
    folder = store / AUTHORITY
    authority = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.crt").read_bytes())
    signs = serialization.load_pem_private_key((folder / f"{AUTHORITY}.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .add_extension(x509.ExtendedKeyUsage(USES), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(issuer, critical=False)
        .sign(signs, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(pem).decode()


def faults(path: Path, names: list[str], days: int) -> str:
    """What is wrong with the certificate file `path`, as a sentence; "" if nothing is.

    names: the host names that it must cover, each by itself or by a wildcard. days: for how many
    days it must still be valid. A missing file is no fault.
    """
    known: set[str] = set()
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        for extension in certificate.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                known = {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"the certificate {path} cannot be read: {error}"
    if missing := sorted(
        name for name in set(names) if not known & {name, f"*.{name.partition('.')[2]}"}
    ):
        return f"the certificate {path} is not for {', '.join(missing)}"
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return f"the certificate {path} ends in {left.days} days" if left.days < days else ""


_tls = functools.cache(make_ssl_context)


@dataclass(frozen=True)
class Answer:
    """The headers of a server's answer, which JupyterHub reads."""

    headers: Message


async def good_answer(
    host: str, port: int, path: str, name: str, tls: ssl.SSLContext
) -> Answer | None:
    """The answer of the server that is called `name` to a request for `path`; None if that is no
    good one. Raises OSError, and TimeoutError.

    The owner of the server decides what it answers, and may send without end what means nothing, in
    pieces as small as he likes. So this reads little, and not with a library that reads on.
    """
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname=name, limit=ANSWER_BYTES
        )
        try:
            lines = [f"GET {path} HTTP/1.1", f"Host: {name}", "Connection: close", "", ""]
            writer.write("\r\n".join(lines).encode())
            first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            is_good = re.match(rb"HTTP/1\.[01] [23]\d\d\b", first)
            return Answer(http.client.parse_headers(io.BytesIO(rest))) if is_good else None
        except (EOFError, asyncio.LimitOverrunError, http.client.HTTPException):
            return None
        finally:
            writer.transport.abort()


class KnownByName(SlurmSpawner):
    """A SlurmSpawner whose servers have the name of their user, not of their node."""

    @property
    def own_name(self) -> str:
        """The host name at which the browser finds the server."""
        return urlsplit(self.public_url).hostname or ""

    async def create_certs(self) -> dict[str, str]:
        self.key, self.certificate = key_and_certificate(
            Path(self.internal_certs_location), self.own_name
        )
        self.authorities = Path(self.internal_trust_bundles[AUTHORITY]).read_text()
        return {}

    async def move_certs(self, paths: dict[str, str]) -> dict[str, str]:
        return paths  # The batch script contains these.

    async def own_answer(self, host: str, port: int) -> Answer | None:
        """The answer of the user's own server at this port; None if there is no good one, or it
        comes from another process.
        """
        path = url_path_join(self.server.base_url if self.server else "/", "api")
        of_hub = (self.user.settings[f"internal_ssl_{part}"] for part in ("key", "cert", "ca"))
        try:
            return await good_answer(host, port, path, self.own_name, _tls(*of_hub))
        except ssl.SSLCertVerificationError as error:
            self.log.warning("Not the server of %s: %s", self._log_name, error)
        except OSError as error:  # TimeoutError is one
            self.log.debug("The server of %s does not answer: %s", self._log_name, error)
        return None

    @property
    def server(self) -> Server | None:
        server = super().server
        if server is not None:
            # JupyterHub's own check would expect the name of the node.
            server.wait_up = self._wait_up
        return server

    @server.setter
    def server(self, server: Server | None) -> None:
        Spawner.server.fset(self, server)

    async def is_paused(self) -> bool:
        """Whether the server is alive but cannot answer now, so that the hub has to wait longer."""
        return False

    async def _wait_up(self, timeout: float = 10, **_: Any) -> Answer:
        """The answer of the user's own server, like Server.wait_up; raises TimeoutError."""
        until = time.monotonic() + timeout
        while True:
            server: Any = self.server  # the hub waits for a server, so there is one
            if answer := await self.own_answer(server.ip, server.port):
                return answer
            if await self.is_paused():
                until = time.monotonic() + timeout
            if time.monotonic() > until:
                raise TimeoutError(f"Server at {server.url} didn't respond in {timeout} s")
            await asyncio.sleep(0.2)
