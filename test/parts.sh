# Sourced by scripts that run parts one after the other and count their tests. The last line of a part is `N passed, N failed`;
# a part without it, or past its time limit, has failed, whatever its exit code.
# shellcheck shell=bash

passed=0
failed=0
verdicts=()
failures=()
reasons=()
running=''
logs=$(mktemp -d /tmp/s2-logs.XXXXXX)

finish() { # TERM lets a part clean up
  [ -z "$running" ] || { kill -TERM "$running" && wait "$running"; } 2>/dev/null
  rm -rf "$logs"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Runs a command with a time limit and shows its output. The log is a file, because a process that a broken part left behind
# would hold a pipe open for ever. It is followed in the background, because a shell handles no signal while a command runs in
# the foreground.
bounded() { # seconds log command…
  local limit=$1 log=$2 follower status
  shift 2
  : >"$log" # there before it is followed
  timeout --kill-after=60 "$limit" "$@" >"$log" 2>&1 </dev/null &
  running=$!
  tail -n +1 -f --pid="$running" --sleep-interval=0.2 "$log" &
  follower=$!
  wait "$running"
  status=$?
  running=''
  wait "$follower"
  return "$status"
}

part() { # name seconds command…
  local name=$1 limit=$2 log=$logs/$1 began=$SECONDS status=0 took count p=0 f=0
  shift 2
  printf '\n== %s\n\n' "$name"
  bounded "$limit" "$log" "$@" || status=$?
  took=$((SECONDS - began))
  count=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
  [ -z "$count" ] || read -r p _ f _ <<<"$count"
  if [ "$status" -ne 0 ] && [ "$took" -ge "$limit" ]; then
    count="not done within $limit s"
    f=$((f + 1))
  elif [ -z "$count" ]; then
    count="exit code $status and no count"
    f=1
  elif [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
    count="exit code $status although it says $count"
    f=1
  fi
  verdicts+=("$name: $count, $took s")
  if [ "$f" -gt 0 ]; then
    mapfile -t -O "${#failures[@]}" failures < <(grep -E '^(Debian [0-9]+ )? *[0-9.]+ s  FAILED|^ *✖ |^not ok' "$log" | grep -v '✖ failing tests:$' | awk '!seen[$0]++' | head -n 10)
    mapfile -t -O "${#reasons[@]}" reasons < <(awk '/✖ failing tests:$/ { summary = 1 }
      /^(Debian [0-9]+ +)?✖ .*ms\)$/ && summary { left = 15 } /^(Debian [0-9]+ +)?test at / { left = 0 } left-- > 0' "$log" | awk '!seen[$0]++' | head -n 60)
  fi
  passed=$((passed + p))
  failed=$((failed + f))
}

sum_up() { # why tests failed, the failures by name, and the parts; the last line is the sum of all parts
  printf '\n'
  [ ${#reasons[@]} -eq 0 ] || printf '%s\n' "${reasons[@]}"
  [ ${#failures[@]} -eq 0 ] || printf '%s\n' "${failures[@]}"
  printf '%s\n' "${verdicts[@]}"
  printf '%s passed, %s failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}
