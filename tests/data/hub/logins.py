"""Post many login forms at once, from a reader's computer.

Argument: the hub's address. Standard input: [[name, password, headers], ...] as JSON. A name that
begins with "token of " requests a token instead of a login. Prints for each [status, seconds, text
of the page, seconds to wait].
"""

import concurrent.futures
import html
import json
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

hub = sys.argv[1]
forms = json.load(sys.stdin)


class Stay(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect."""

    def redirect_request(self, *ignored):
        return None


# It reads the certificates of all authorities once, and not for each request.
once = urllib.request.HTTPSHandler(context=ssl.create_default_context())
opener = urllib.request.build_opener(Stay, once)
page = opener.open(hub + "/hub/login", timeout=60)
cookie = page.headers["Set-Cookie"].partition(";")[0]
token = cookie.partition("=")[2]


def post(form):
    name, password, headers = form
    if name.startswith("token of "):
        path = "/hub/api/users/x/tokens"
        body = json.dumps({"auth": {"username": name[9:], "password": password}})
        headers = headers | {"Content-Type": "application/json"}
    else:
        path = "/hub/login?_xsrf=" + token
        body = urllib.parse.urlencode({"username": name, "password": password})
    cookies = "; ".join([cookie, *filter(None, [headers.get("Cookie")])])
    request = urllib.request.Request(hub + path, body.encode(), headers | {"Cookie": cookies})
    began = time.monotonic()
    try:
        answer = opener.open(request, timeout=90)
    except urllib.error.HTTPError as error:
        answer = error
    error = re.search('class="login_error">([^<]*)', answer.read().decode())
    text = html.unescape(error[1]) if error else ""
    return answer.status, round(time.monotonic() - began, 1), text, answer.headers["Retry-After"]


with concurrent.futures.ThreadPoolExecutor(len(forms)) as pool:
    print(json.dumps(list(pool.map(post, forms))))
