#!/bin/bash
# end_class_check.sh SIGNAL: send SIGNAL to class-check while one of its jobs runs and one waits.
# Prints the states of its jobs at that time, and its exit status.
class-check --room 3 --wait 80 -- --array=0-2%1 &
pid=$!
states() { squeue --me --noheader --array --format=%T | sort -u; }
for _ in $(seq 200); do
    [ "$(states | wc -l)" = 2 ] && break
    sleep 0.2
done
states
kill "-$1" $pid
wait $pid
echo $?
