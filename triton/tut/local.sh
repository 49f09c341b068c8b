#!/bin/bash
#SBATCH --partition={{ partitions.batch }}
#SBATCH --time=00:10:00
#SBATCH --mem=500M
#SBATCH --output=local.out

set -e
here=$(mktemp -d)                   # a folder in /tmp that you alone can read
trap 'rm -rf "$here"' EXIT          # however the script ends, nothing is left there
cd "$here"
tar -xf "$WRKDIR/many.tar"          # one large file is read, in place of many
cat many/* | sort -n > sorted.txt   # your program comes here
cp sorted.txt "$WRKDIR"             # /tmp is gone for you when the job has ended
