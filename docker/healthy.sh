#!/bin/sh
# The health check, every 10 s: can the program of this container work? Docker only records the answer. So a program that does
# not answer (its event loop is blocked, or it is stopped), or reports an overdue round of work, is killed here at the third
# time in a row, and the restart policy starts it again. A program that reports a trouble is left alone: a restart would not
# mend an unreachable bridge or remote.
set -u

[ -f /tmp/s2 ] || exit 0 # the command line has no health socket
read -r program pid </tmp/s2
strikes=/tmp/s2-strikes

report=$(s2 health "$program" --json) && { rm -f "$strikes"; exit 0; }
printf '%s\n' "$report"
case $report in
  *'"state": "away"'* | *'"state": "stuck"'*) ;;
  *) rm -f "$strikes"; exit 1 ;;
esac

echo >>"$strikes"
[ "$(wc -l <"$strikes")" -ge 3 ] || exit 1
rm -f "$strikes"
printf '{"level":"error","message":"s2-%s hangs: it is ended, to be started again"}\n' "$program" >"/proc/$pid/fd/1"
kill -KILL "$pid"
exit 1
