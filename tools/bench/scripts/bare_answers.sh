#!/bin/bash
# Submit bare.sh to $PARTITION, on $NODE; print the times of that and of the first page of JupyterLab.
began=$EPOCHREALTIME
job=$(sbatch --parsable --partition="$PARTITION" --nodelist="$NODE" bare.sh)
until url=$(grep -som1 'http://[0-9.]*:[0-9]*/lab' "bare-$job.log") &&
    [ "${url#http://127}" = "$url" ]; do
    sleep 0.05
done
until curl --silent --fail --location --cookie-jar /dev/null --output /dev/null \
    "$url?token=bare"; do
    sleep 0.05
done
echo "$began" "$EPOCHREALTIME"
