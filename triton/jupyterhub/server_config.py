"""What the hub's job tells each server; job.sh writes it where the server reads its configuration."""
import logging
import os
import signal
import ssl
import threading
import time
import urllib.error
import urllib.request

# What the log is not told: these messages name the session, which is as good as a password.
TELL = ("Setting new xsrf cookie", "xsrf id mismatch", "HubAuth cache miss", "Received request from Hub user", "User model")
logging.getLogger("tornado.application").addFilter(lambda record: not str(record.msg).startswith(TELL))


def refused() -> bool:
    """Whether the hub answers and does not know this server's token. A hub that is away or starts, and all that is no hub, refuses nothing."""
    request = urllib.request.Request(os.environ["JUPYTERHUB_API_URL"] + "/user",
                                     headers={"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]})
    handlers = [urllib.request.ProxyHandler({})]
    if certificate := os.environ.get("JUPYTERHUB_SSL_CERTFILE"):
        context = ssl.create_default_context(cafile=os.environ.get("JUPYTERHUB_SSL_CLIENT_CA") or None)
        context.load_cert_chain(certificate, os.environ.get("JUPYTERHUB_SSL_KEYFILE"))
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        urllib.request.build_opener(*handlers).open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        return error.code == 403 and "X-JupyterHub-Version" in error.headers
    except (OSError, ValueError):
        pass
    return False


def end_when_refused(seconds: float) -> None:
    """End this server once the hub has refused it for so long without a break: nobody can reach it any more."""
    since = None
    while since is None or time.monotonic() - since < seconds:
        time.sleep(min(60, seconds / 5))
        since = (since or time.monotonic()) if refused() else None
    logging.getLogger("tornado.application").warning("The hub does not know this server any more, so it ends.")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    os.kill(os.getpid(), signal.SIGKILL)


if "JUPYTERHUB_API_TOKEN" in os.environ:
    threading.Thread(target=end_when_refused, args=(float(os.environ.get("JUPYTERHUB_REFUSED_SECONDS", 600)),), daemon=True).start()
