#!/bin/bash
# upload_both.sh URL CONTENTS TOKEN: send sixty megabytes to a server twice, with cookies as a page
# of JupyterLab does, and with a token as a program does; print the sizes of the two files.
(
    printf '{"type": "file", "format": "text", "content": "'
    head --bytes=60000000 /dev/zero | tr '\0' x
    printf '"}'
) > body
curl --silent --location --output /dev/null --cookie-jar jar "$1"
curl --silent --fail --output /dev/null --cookie jar \
    --header "X-XSRFToken: $(awk '/_xsrf/ { print $7 }' jar)" --upload-file body "$2/by-cookie"
curl --silent --fail --output /dev/null --header "Authorization: token $3" \
    --header 'Transfer-Encoding: chunked' --upload-file body "$2/by-token"
stat --format=%s by-cookie by-token
