"""Send the hub data about the server that runs this program."""

import json
import os
import re
import ssl
import urllib.error
import urllib.request

tls = ssl.create_default_context(cafile=os.environ["JUPYTERHUB_SSL_CLIENT_CA"])
tls.load_cert_chain(os.environ["JUPYTERHUB_SSL_CERTFILE"], os.environ["JUPYTERHUB_SSL_KEYFILE"])
port = int(re.search(r":(\d+)", os.environ["JUPYTERHUB_SERVICE_URL"])[1])


def tell(data):
    """The status of the hub's answer."""
    request = urllib.request.Request(
        os.environ["JUPYTERHUB_API_URL"] + "/batchspawner",
        json.dumps(data).encode(),
        {
            "Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"],
            "Content-Type": "application/json",
        },
    )
    try:
        return urllib.request.urlopen(request, context=tls).status
    except urllib.error.HTTPError as error:
        return error.code
