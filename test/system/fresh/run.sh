#!/bin/bash
# Run by the user of a machine in the checkout: starts `make run` on a terminal, waits in another one until nine agents live, and
# ends it by Ctrl-C. Fails when it does not end well, or leaves a process.
set -u

began=$(date +%s.%N)
keys=$(mktemp -u) said=$(mktemp)
mkfifo "$keys"
script --quiet --return --command 'stty rows 50 cols 140; exec make run' /dev/null <"$keys" >"$said" 2>&1 &
terminal=$!
exec 7>"$keys"

end() { # status: shows what it said; what is on a terminal line that was updated is on lines of its own
  tr '\r' '\n' <"$said" | sed 's/\x1b\[[0-9;?]*[A-Za-z]//g' | grep -a '^s2: ' | uniq
  rm -f "$keys" "$said"
  exit "$1"
}
tell() { tail -c 3000 "$said"; end 1; }

alive() { grep -aq 'programs for 9 agents' "$said" && (. ./deploy/env.sh && dist/s2.js status) 2>/dev/null | grep -q '^9 agents, 9 alive'; }
until alive; do
  kill -0 "$terminal" 2>/dev/null || { echo 'it ended by itself, and had said:'; tell; }
  [ "$(date +%s)" -lt $((${began%.*} + 400)) ] || { echo 'nine agents do not live after 400 s; it had said:'; tell; }
  sleep 0.2
done
awk -v began="$began" 'BEGIN { "date +%s.%N" | getline now; printf "nine agents lived after %.1f s\n", now - began }'

printf '\003' >&7
for _ in $(seq 300); do kill -0 "$terminal" 2>/dev/null || break; sleep 0.1; done
if kill -0 "$terminal" 2>/dev/null; then echo 'it did not end within 30 s of Ctrl-C; it had said:'; tell; fi
wait "$terminal"
left=$(ps -u "$(id -un)" -o pid=,args= | grep -vE 'run\.sh|ps -u|grep -vE|stubinit')
[ -z "$left" ] || { printf 'it left:\n%s\n' "$left"; end 1; }
end 0
