#!/bin/bash
# Runs the system tests one after the other, or those that are named, and ends with the sum of all: `N passed, N failed`.
set -u

here=$(cd "$(dirname "$0")" && pwd)
logs=$(mktemp -d /tmp/s2-system-logs.XXXXXX)
running=''
finish() {
  [ -n "$running" ] && kill -TERM "$running" 2>/dev/null && wait "$running"
  rm -rf "$logs"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The minutes that each may take; together they stay below what the whole may.
declare -A minutes=([systemd]=9 [docker]=7 [evidence]=3 [nine]=6)
[ $# -gt 0 ] || set -- systemd docker evidence nine

passed=0
failed=0
verdicts=()
for name in "$@"; do
  script=$here/$name.sh
  [ -n "${minutes[$name]:-}" ] || { echo "there is no system test $name: name some of ${!minutes[*]}" >&2; exit 64; }
  [ -x "$script" ] || continue
  printf '\n== %s\n\n' "$name"
  began=$SECONDS
  # A file and not a pipe: a process that a broken test left behind would hold a pipe open for ever.
  : >"$logs/$name"
  timeout --kill-after=60 "${minutes[$name]}m" "$script" >"$logs/$name" 2>&1 </dev/null &
  running=$!
  tail -n +1 -f --pid="$running" --sleep-interval=0.2 "$logs/$name"
  wait "$running"
  status=$?
  running=''
  count=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$logs/$name" | tail -n 1)
  read -r p _ f _ <<<"${count:-0 passed, 0 failed}"
  if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
    f=1
    [ "$status" -eq 124 ] && count="not done within ${minutes[$name]} min" || count="exit code $status${count:+ although it says $count}"
  elif [ -z "$count" ]; then
    f=1
    count='no count'
  fi
  passed=$((passed + p))
  failed=$((failed + f))
  verdicts+=("$name: $count, $((SECONDS - began)) s")
done

printf '\n'
[ ${#verdicts[@]} -gt 0 ] && printf '%s\n' "${verdicts[@]}"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
