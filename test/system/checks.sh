# Sourced by the system tests: a folder of their own, counted checks, and waiting for events with an end.
# shellcheck shell=bash

passed=0
failed=0
# A machine whose disk stalls, or that others keep busy, is late and not wrong: it is forgiven so much, seconds, and told of.
hiccup=15
late=''

# Makes the folder $work, which goes when the script ends, however it ends; what ends all that the script started goes first.
take_folder() { # name ending-command
  # What a script that was killed left behind is nobody's: whoever lives has locked its folder.
  find /tmp -maxdepth 1 -type d -user root -name "s2-$1.??????" -mmin +1 -exec flock --nonblock {} rm -rf --one-file-system {} \;
  work=$(mktemp -d "/tmp/s2-$1.XXXXXX")
  exec 8<"$work"
  flock 8
  # shellcheck disable=SC2064 # it is known now
  trap "$2; rm -rf --one-file-system '$work'" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

seconds() { awk -v from="$1" 'BEGIN { "date +%s.%N" | getline now; printf "%.1f", now - from }'; } # since a `date +%s.%N`

chapter() { printf '\n%s\n' "$1"; } # a heading

check() { # name command…: counts whether the command succeeds, and shows what it said when it does not
  local name=$1 began
  began=$(date +%s.%N)
  late=''
  shift
  if "$@" >"$work/out" 2>&1; then
    passed=$((passed + 1))
    printf '%6s s  ok      %s%s\n' "$(seconds "$began")" "$name" "$late"
  else
    failed=$((failed + 1))
    printf '%6s s  FAILED  %s\n' "$(seconds "$began")" "$name"
    sed 's/^/           /' "$work/out" | tail -n 120
    return 1
  fi
}

must() { check "$@" || { sum_up; exit 1; }; } # what all that comes after stands on

within() { # seconds command…: the command comes true in time, a hiccup of the machine forgiven
  local most=$1 end=$(($(date +%s) + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$(date +%s)" -ge $((end + hiccup)) ]; then
      "$@" # what it says the last time is what one wants to read
      return
    fi
    sleep 0.1
  done
  [ "$(date +%s)" -le "$end" ] || late=" (late: $most s were asked for)"
}

refuses() { # words command…: it fails, and says these words
  local words=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    echo 'it was not refused; it said:'
  elif grep -q -e "$words" "$work/said"; then
    return 0
  else
    echo "it failed, but did not say: $words"
  fi
  cat "$work/said"
  return 1
}

says() { # words command…: it works, and says these words
  local words=$1
  shift
  "$@" >"$work/said" 2>&1 && grep -q -e "$words" "$work/said" && return
  cat "$work/said"
  return 1
}

lacks() { # words command…: it works, and does not say these words
  local words=$1
  shift
  "$@" >"$work/said" 2>&1 && ! grep -q -e "$words" "$work/said" && return
  cat "$work/said"
  return 1
}

sum_up() { # the last line of every system test; fails unless all checks passed and there were some
  printf '\n%s passed, %s failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# Ends the script where it cannot run: with 0 on a developer's machine, as a failure where CI=true.
cannot() { # reason
  if [ "${CI:-}" = true ]; then
    printf '%s\n\n0 passed, 1 failed\n' "$1, and CI=true skips nothing"
    exit 1
  fi
  printf 'skipped: %s\n\n0 passed, 0 failed\n' "$1"
  exit 0
}

debian_mirror() { # where this machine has its packages from
  cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
    awk '/^(URIs:|deb) / { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }'
}

make_debian() { # folder packages [suite]
  mkdir -p "$1/etc/dpkg/dpkg.cfg.d"
  echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/s2" # what a power cut would lose is made again
  setpriv --pdeathsig TERM debootstrap --variant=minbase --include="$2" "${3:-bookworm}" "$1" "$(debian_mirror)"
}

# Ends a machine as by a button; one that waits for a service of its own for too long has its power cut.
end_machine() { # pid of its systemd-nspawn, pid of its first process
  kill "$1" 2>/dev/null
  within 90 is_over "$1" || kill -KILL "$2" "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}
is_over() { ! kill -0 "$1"; } # pid

needs_root() { [ "$(id -u)" = 0 ] || cannot "$1 wants root"; } # what
needs() { # package command…
  local package=$1 command
  shift
  for command in "$@"; do
    command -v "$command" >/dev/null || cannot "$command is missing (apt-get install $package)"
  done
}
