#!/bin/bash
# Make the servers number $FIRST to $LAST of sjupyter: jobs that wait in $PARTITION, each with the
# folder that a server on $NODE keeps.
for number in $(seq "$FIRST" "$LAST"); do
    folder=$HOME/.local/share/sjupyter/$(date +%s%3N)-$(printf %06x "$number")
    mkdir -p "$folder/runtime"
    printf '#!/bin/sh\n' > "$folder/job.sh"
    job=$(sbatch --parsable --hold --partition="$PARTITION" --job-name=sjupyter \
        --output=/dev/null "$folder/job.sh") || exit
    printf '{"job": "%s", "dir": "%s", "app": "lab"}\n' "$job" "$HOME" > "$folder/asked.json"
    printf '{"job": "%s", "node": "%s", "host": "%s", "port": %s, "state": "ready", %s}\n' \
        "$job" "$NODE" "$NODE.$DOMAIN" $((20000 + number)) '"memory_mb": 200' > "$folder/said.json"
done
