#!/bin/bash
# full_disk.sh MOUNT CONFIG PYTHON SCRIPT PREFIX: enable nbdime-git in a repository on a full disk,
# and see that it leaves nothing. The exit status is that of the script, 77 without a disk, 99 if
# something is left.
mount -t tmpfs -o size=256k none "$1" 2>/dev/null || exit 77
cd "$1" && git init -q --template= . && cp .git/config "$2" && cat /dev/zero >fill 2>/dev/null
"$3" "$4" enable --prefix "$5"
status=$?
cmp .git/config "$2" && test ! -e .git/info/attributes &&
    test -z "$(find .git -name '*nbdime*' -o -name '*.lock')" && exit $status
exit 99
