#!/bin/sh
# What docker asks every 10 s: can the program of this container do its work? Docker writes the answer down and restarts nothing.
# So a program that gives no answer at all (its event loop is blocked, somebody stopped it), or says that its rounds of work no
# longer end, is ended here at the third time in a row, and the restart policy brings it back. One that answers and says what
# it lacks is left alone: a restart would not mend a bridge or a remote that is away.
set -u

[ -f /tmp/s2 ] || exit 0 # the command line, which answers nobody
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
