"""JupyterHub for a Slurm cluster.

The cluster's names and profiles stand in facts.toml, beside this file.
"""

import logging
import sys
from pathlib import Path

HERE, STATE = Path(__file__).resolve().parent, Path("/var/lib/jupyterhub")
sys.path.insert(0, str(HERE))
import clusterfacts  # noqa: E402
import log_lines  # noqa: E402  (all log records are short from here on)
from addresses import KnownFiles, TrueAddress, inside, no_tiny_records, own_names  # noqa: E402
from authenticator import CountingAuthenticator  # noqa: E402
from certificates import NoCookies, faults  # noqa: E402
from jobs import Jobs  # noqa: E402
from jupyterhub import orm  # noqa: E402
from profile_spawner import NotStarted, ProfileSpawner, wanted_jobs  # noqa: E402
from sqlalchemy import event, inspect  # noqa: E402
from tornado.httpserver import HTTPServer  # noqa: E402
from tornado.iostream import SSLIOStream  # noqa: E402

try:
    facts = clusterfacts.load(HERE / "facts.toml")
except clusterfacts.FactsError as error:
    sys.exit(f"jupyterhub: {error}")
paths, hosts = facts.paths, facts.hosts
central = f"{paths.jupyter_env}/bin"
c = get_config()  # type: ignore[name-defined]  # noqa: F821  JupyterHub gives it to this file

# The hub listens in the cluster's network, for the proxy and for the servers on the nodes. Readers
# reach it through the proxy only.
c.JupyterHub.bind_url = f"https://{hosts.hub}"
c.JupyterHub.public_url = f"https://{hosts.hub}/"
c.JupyterHub.hub_bind_url = f"https://{inside(hosts.inside)}:8081"
c.JupyterHub.hub_connect_url = f"https://{hosts.inside}:8081"

# Hub, proxy and servers talk to each other over TLS, with certificates of the hub's own authority
# (see certificates.py). The first service that starts makes them.
names = list(dict.fromkeys([hosts.inside, hosts.hub, hosts.servers]))
c.JupyterHub.internal_ssl = True
c.JupyterHub.internal_certs_location = f"{STATE}/tls"
c.JupyterHub.trusted_alt_names = [f"DNS:{name}" for name in names]
for certificate, wanted, days, remedy in (
    (
        STATE / "tls/hub-internal/hub-internal.crt",
        names,
        60,
        'Make those of the hub anew: see "The certificates" in README.md.',
    ),
    (
        HERE / "tls/cert.pem",
        names[1:],
        14,
        "Put one there that is good for all; if you get none for a wildcard, see "
        '"Without a wildcard name" in README.md.',
    ),
):
    if wrong := faults(certificate, wanted, days):
        print(f"JupyterHub: {wrong}. {remedy}", file=sys.stderr)

# PostgreSQL: "postgresql+psycopg2://jupyterhub@/jupyterhub"
c.JupyterHub.db_url = f"sqlite:///{STATE}/jupyterhub.sqlite"
if c.JupyterHub.db_url.startswith("sqlite"):
    # The timeout is in seconds: a backup may lock the file.
    c.JupyterHub.db_kwargs = {"connect_args": {"timeout": 30}}
c.JupyterHub.cookie_secret_file = f"{STATE}/cookie_secret"

# Limits for requests: a request is small, arrives quickly, and leaves no long text in the database.
# A larger one could name thousands of scopes, or a date of many digits. The hub would work on it
# for seconds and do nothing else.
HTTPServer.configure(
    None, max_body_size=4_000, body_timeout=30, idle_connection_timeout=97
)  # bytes and seconds; 97, since no page sends requests at that interval
SSLIOStream.read_from_fd = no_tiny_records  # type: ignore[assignment, method-assign]
event.listen(
    orm.APIToken.note,
    "set",
    lambda token, note, *_: note[:1000] if isinstance(note, str) else note,
    retval=True,
)

# To list the tokens of a user, or to remove those that have expired, the hub works on all of them
# and does nothing else. So a user has few.
MOST_TOKENS = 100


def few(token: orm.APIToken, user: orm.User | None, *_: object) -> None:
    """Raise NotStarted, and forget `token`, if the user has so many already."""
    session = inspect(token).session
    with session.no_autoflush:
        tokens = session.query(orm.APIToken).filter_by(user_id=user and user.id)
        if user and tokens.count() >= MOST_TOKENS:
            session.expunge(token)
            raise NotStarted(
                f"You have {MOST_TOKENS} tokens. Revoke some on the hub's page Token.", 403
            )


event.listen(orm.APIToken.user, "set", few)


def newest(code: orm.OAuthCode, user: orm.User, *_: object) -> None:
    """Forget old codes of the user. A login takes a code and uses it at once; the hub removes those
    that nobody has used each hour, one by one, and does nothing else meanwhile.
    """
    session = inspect(code).session
    with session.no_autoflush:
        codes = session.query(orm.OAuthCode.id).filter_by(user_id=user.id)
        older = codes.order_by(orm.OAuthCode.id.desc()).offset(MOST_TOKENS - 1)
        unused = session.query(orm.OAuthCode).filter(orm.OAuthCode.id.in_(older))
        unused.delete(synchronize_session=False)


event.listen(orm.OAuthCode.user, "set", newest)

# Servers on one node share its name, so the cookie of one would be sent to the others.
c.JupyterHubHTTPClient.session_options = {"cookie_jar": NoCookies()}

# The proxy is a separate service (start-proxy), so hub and proxy can restart one by one while
# servers run on.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
c.ConfigurableHTTPProxy.auth_token = (STATE / "proxy_token").read_text().strip()
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.last_activity_interval = 5  # seconds until a restarted proxy gets its routes again

# Everybody with an account may log in. CountingAuthenticator limits wrong passwords. PAM delays
# each wrong password by two seconds and blocks a thread meanwhile.
c.JupyterHub.authenticator_class = CountingAuthenticator
c.PAMAuthenticator.executor_threads = 64
c.PAMAuthenticator.service = "jupyterhub"
c.PAMAuthenticator.open_sessions = False
c.Authenticator.allow_all = True

# All readers from outside come through the login node and have its address (see proxy.pac). Add
# other hosts that many people share.
c.CountingAuthenticator.shared = [hosts.login]

# PAM is asked again after this many seconds, and before each start. An account that may no longer
# log in can then use neither its old logins nor its tokens.
c.Authenticator.auth_refresh_age = 300
c.Authenticator.refresh_pre_spawn = True
c.JupyterHub.token_expires_in_max_seconds = 90 * 86400  # forgotten tokens expire too

# Each user's server has a name of its own, below the hub's, so that no page of one user can act for
# another. Cookies with the prefix __Host- are for one name and all its paths. That is right with
# such names and wrong without them (see README.md).
if own_names(hosts):
    c.JupyterHub.subdomain_host = f"https://{hosts.hub}"
    c.JupyterHub.cookie_host_prefix_enabled = True
# a login leads on to the user's server
elsewhere = f" https://{hosts.servers}" if own_names(hosts) else ""

# Cookies and headers for the browser.
TrueAddress.proxies = frozenset([inside(hosts.inside)])
c.JupyterHub.tornado_settings = {
    "transforms": [TrueAddress],
    "static_handler_class": KnownFiles,
    "cookie_options": {"Secure": True, "SameSite": "Lax"},
    "headers": {
        "Content-Security-Policy": "default-src 'self'; script-src 'self' "
        "'unsafe-inline'; style-src 'self' "
        "'unsafe-inline'; "
        "img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action "
        f"'self'{elsewhere}; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Strict-Transport-Security": "max-age=31536000",
    },
}

# These messages contain the session, which is as good as a password, so they are not logged.
logging.getLogger("tornado.application").addFilter(
    lambda record: not str(record.msg).startswith(("Setting new xsrf cookie", "xsrf id mismatch"))
)

# Strangers can cause many log lines: each request logs one or two, and each error (as a lack of
# file descriptors) a traceback. So the number of lines is limited, for all loggers.
c.JupyterHub.logging_config = {
    "filters": {"few": {"()": log_lines.Few}},
    "handlers": {"console": {"filters": ["few"]}},
    "root": {"handlers": ["console"]},  # for loggers outside of JupyterHub and tornado: asyncio
}

# The users' servers.
c.JupyterHub.spawner_class = ProfileSpawner
c.JupyterHub.allow_named_servers = True
c.JupyterHub.named_server_limit_per_user = 3
c.JupyterHub.template_paths = [str(HERE / "templates")]
c.ProfileSpawner.profiles = list(facts.profiles)
c.ProfileSpawner.batch_script = (HERE / "job.sh").read_text(encoding="utf-8")
c.ProfileSpawner.server_config = f"GUIDE = {facts.site.repository!r}\n" + "".join(
    (HERE / name).read_text(encoding="utf-8")
    for name in (
        "log_lines.py",
        "server_config.py",
        "strangers.py",
        "pairs.py",
        "written_files.py",
        "usage.py",
        "links.py",
    )
)
c.ProfileSpawner.req_partition = facts.partitions.interactive
c.ProfileSpawner.modules = [facts.modules.jupyter]
c.ProfileSpawner.links = [("home", "$HOME"), ("work", "$WRKDIR"), ("scratch", paths.scratch)]
c.ProfileSpawner.cmd = [f"{central}/jupyterhub-singleuser"]
c.ProfileSpawner.batchspawner_singleuser_cmd = f"{central}/batchspawner-singleuser"
c.ProfileSpawner.log_pattern = facts.logs.pattern
c.ProfileSpawner.log_days = facts.logs.keep_days
c.ProfileSpawner.home_advice = (
    f"Make room: du -sh ~/* ~/.[!.]* | sort -h shows what is big. {paths.work} has more "
    f"space; the quota of a home is {clusterfacts.size(facts.quota.home_gb)}."
)
c.ProfileSpawner.start_timeout = 3600  # seconds; a job may wait in the queue
c.ProfileSpawner.http_timeout = 60  # seconds in which a server whose job runs must answer
# seconds; this reads what is known, and asks Slurm nothing
c.ProfileSpawner.startup_poll_interval = 0.1
# In seconds. It is also the time until a server that has ended loses its route. One squeue serves
# all servers.
c.ProfileSpawner.poll_interval = 5

# Any number of servers may wait in the queue. MOST_CALLS in jobs.py limits the sbatch that run at
# once.
c.JupyterHub.concurrent_spawn_limit = 0

# A job that no server needs is ended, even if the hub, Slurm or the start has failed. The hub's
# address marks its jobs.
ProfileSpawner.jobs = Jobs(f"{hosts.inside}:8081", STATE / "jobs.json")
ProfileSpawner.jobs.tend(wanted_jobs)
