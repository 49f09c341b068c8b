#!/bin/bash
# Stands for `apptainer exec`: notes its words, and starts the command where it sees the home
# directory, /tmp and what --bind names, and of the folder HIDDEN nothing else.
shift
printf '%s\n' "$@" > ~/asked
if [ "${0##*/}" = singularity ]; then exit; fi
test "$1" = --bind || exit 2
export SHOWN=$2
ls "$3" > /dev/null || exit 255
shift 3
# shellcheck disable=SC2016  # the inner shell reads its variables itself
exec unshare --user --map-current-user --keep-caps --mount bash -c '
    hidden=$(mktemp -d) && mount --bind "$SHOWN" "$hidden" && mount -t tmpfs none HIDDEN &&
    mkdir -p "$SHOWN" && mount --bind "$hidden" "$SHOWN" && exec "$@"' container "$@"
