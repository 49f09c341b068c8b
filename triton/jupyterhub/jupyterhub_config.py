"""JupyterHub for a Slurm cluster.

What the cluster is called and which profiles it has stands in facts.toml, beside this file.
"""

import logging
import sys
from pathlib import Path

HERE, STATE = Path(__file__).resolve().parent, Path("/var/lib/jupyterhub")
sys.path.insert(0, str(HERE))
import clusterfacts  # noqa: E402
import log_lines  # noqa: E402  (from here on none is long)
from addresses import TrueAddress, inside, own_names  # noqa: E402
from authenticator import CountingAuthenticator  # noqa: E402
from certificates import NoCookies, faults  # noqa: E402
from jobs import Jobs  # noqa: E402
from jupyterhub import orm  # noqa: E402
from profile_spawner import ProfileSpawner, wanted_jobs  # noqa: E402
from sqlalchemy import event  # noqa: E402
from tornado.httpserver import HTTPServer  # noqa: E402

try:
    facts = clusterfacts.load(HERE / "facts.toml")
except clusterfacts.FactsError as error:
    sys.exit(f"jupyterhub: {error}")
paths, hosts = facts.paths, facts.hosts
central = f"{paths.jupyter_env}/bin"
c = get_config()  # type: ignore[name-defined]  # noqa: F821  JupyterHub gives it to this file

# The hub listens for the proxy and for the servers on the nodes, in the cluster's network; readers
# reach it through the proxy alone.
c.JupyterHub.bind_url = f"https://{hosts.hub}"
c.JupyterHub.public_url = f"https://{hosts.hub}/"
c.JupyterHub.hub_bind_url = f"https://{inside(hosts.inside)}:8081"
c.JupyterHub.hub_connect_url = f"https://{hosts.inside}:8081"

# All three speak TLS with each other, with certificates of the hub's own authority: see
# certificates.py. Whoever starts first makes them.
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
    # Seconds: a backup may hold the file.
    c.JupyterHub.db_kwargs = {"connect_args": {"timeout": 30}}
c.JupyterHub.cookie_secret_file = f"{STATE}/cookie_secret"

# What the hub reads of anybody: a request is small, comes at once, and leaves no long text in the
# database. In a larger one a user would name thousands of scopes, or a date of so many digits, and
# each takes seconds in which the hub does nothing else.
HTTPServer.configure(
    None, max_body_size=4_000, body_timeout=30, idle_connection_timeout=97
)  # bytes, seconds; no page asks just as often
event.listen(
    orm.APIToken.note,
    "set",
    lambda token, note, *_: note[:1000] if isinstance(note, str) else note,
    retval=True,
)

# Servers on one node have one name, so a cookie of one would go to all others there.
c.JupyterHubHTTPClient.session_options = {"cookie_jar": NoCookies()}

# The proxy is a service of its own (start-proxy): hub and proxy restart one by one, and no server
# ends.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
c.ConfigurableHTTPProxy.auth_token = (STATE / "proxy_token").read_text().strip()
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.last_activity_interval = (
    5  # seconds: a proxy that was restarted learns its routes then
)

# Who may log in: who has an account here, and does not guess passwords. PAM holds each wrong one
# for two seconds, in a thread.
c.JupyterHub.authenticator_class = CountingAuthenticator
c.PAMAuthenticator.executor_threads = 64
c.PAMAuthenticator.service = "jupyterhub"
c.PAMAuthenticator.open_sessions = False
c.Authenticator.allow_all = True

# Through the login node come all who are outside, with one address: see proxy.pac. Add what else
# many people share.
c.CountingAuthenticator.shared = [hosts.login]

# Who may not log in any more can use neither a login nor a token of before: PAM is asked again
# after so many seconds, and before each start.
c.Authenticator.auth_refresh_age = 300
c.Authenticator.refresh_pre_spawn = True
c.JupyterHub.token_expires_in_max_seconds = 90 * 86400  # a token that nobody remembers ends too

# Each user's server has a name of its own, below the hub's, so that no page of a user can act for
# another. Cookies with the prefix __Host- are for one name only, and for all its paths: right with
# such names, and wrong without them. See README.md.
if own_names(hosts):
    c.JupyterHub.subdomain_host = f"https://{hosts.hub}"
    c.JupyterHub.cookie_host_prefix_enabled = True
elsewhere = f" https://{hosts.servers}" if own_names(hosts) else ""  # a login goes on to there

# What the browser is told.
TrueAddress.proxies = frozenset([inside(hosts.inside)])
c.JupyterHub.tornado_settings = {
    "transforms": [TrueAddress],
    "cookie_options": {"Secure": True, "SameSite": "Lax"},
    "headers": {
        "Content-Security-Policy": "default-src 'self'; script-src 'self' "
        "'unsafe-inline'; style-src 'self' "
        "'unsafe-inline'; "
        "img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action "
        f"'self'{elsewhere}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Strict-Transport-Security": "max-age=31536000",
    },
}

# What the log is not told: these messages name the session, which is as good as a password.
logging.getLogger("tornado.application").addFilter(
    lambda record: not str(record.msg).startswith(("Setting new xsrf cookie", "xsrf id mismatch"))
)

# Nor all that strangers bring about, whichever logger says it: a request is a line or two, and an
# error, as one without a free descriptor, a traceback.
c.JupyterHub.logging_config = {
    "filters": {"few": {"()": log_lines.Few}},
    "handlers": {"console": {"filters": ["few"]}},
    "root": {"handlers": ["console"]},  # of what is not JupyterHub's or tornado's: asyncio
}

# The servers.
c.JupyterHub.spawner_class = ProfileSpawner
c.JupyterHub.allow_named_servers = True
c.JupyterHub.named_server_limit_per_user = 3
c.JupyterHub.template_paths = [str(HERE / "templates")]
c.ProfileSpawner.profiles = list(facts.profiles)
c.ProfileSpawner.batch_script = (HERE / "job.sh").read_text(encoding="utf-8")
c.ProfileSpawner.server_config = f"GUIDE = {facts.site.repository!r}\n" + "".join(
    (HERE / name).read_text(encoding="utf-8")
    for name in ("log_lines.py", "server_config.py", "strangers.py", "links.py")
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
c.ProfileSpawner.start_timeout = 3600  # a job may wait for a place
c.ProfileSpawner.http_timeout = 60  # one that runs must answer
c.ProfileSpawner.startup_poll_interval = 0.1  # a look at what is known, no question to Slurm
c.ProfileSpawner.poll_interval = (
    5  # the route of a server that has gone goes then; one squeue answers for all
)

# Any number of servers may wait for a place. What is limited is how many sbatch run at once: CALLS
# in jobs.py.
c.JupyterHub.concurrent_spawn_limit = 0

# A job that no server wants is ended, whatever happened to the hub, to Slurm or to the start. Jobs
# are marked with this hub's address.
ProfileSpawner.jobs = Jobs(f"{hosts.inside}:8081", STATE / "jobs.json")
ProfileSpawner.jobs.tend(wanted_jobs)
