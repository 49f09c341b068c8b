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
import time
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
from jupyterhub.utils import fetch, url_path_join

ANSWER_SECONDS = 2
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

    async def own_answer(self, host: str, port: int) -> aiohttp.ClientResponse | None:
        """The answer of the user's own server at this port; None if there is no answer, or it comes
        from another process.
        """
        prefix = self.server.base_url if self.server else "/"
        url = url_path_join(f"https://{host}:{port}", prefix, "api")
        try:
            return await fetch(
                url,
                server_hostname=self.own_name,
                headers={"Connection": "close"},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            )
        except aiohttp.ClientConnectorCertificateError as error:
            self.log.warning("Not the server of %s: %s", self._log_name, error)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
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

    async def _wait_up(self, timeout: float = 10, **_: Any) -> aiohttp.ClientResponse:
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
