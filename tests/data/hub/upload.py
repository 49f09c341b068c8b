"""Upload a hundred megabytes to the server at an address, once for each set of headers.

Argument: the address. Standard input: {name: headers} as JSON. Prints the status of each, or
"closed".
"""

import json
import sys
import urllib.error
import urllib.request

headers = json.load(sys.stdin)
content = {"type": "file", "format": "text", "content": "x" * 100_000_000}
body = json.dumps(content).encode()
for name, own in headers.items():
    request = urllib.request.Request(
        sys.argv[1] + f"/api/contents/home/{name}",
        body,
        own | {"Content-Type": "application/json"},
        method="PUT",
    )
    try:
        print(urllib.request.urlopen(request, timeout=120).status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except OSError:
        print("closed")
