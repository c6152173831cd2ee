# Sourced by what sets up: says what takes long while it takes it, and what went wrong.
# shellcheck shell=sh

fail() { # what-happened what-next
  printf '%s\n' "s2: $1" "    next: $2" >&2
  exit 1
}

# Runs a command and says what it does, on the standard error: how long it has taken, and how much lies in a folder that it
# fills, on a terminal every second in one line, elsewhere every ten seconds. The command's own output goes where it is sent.
told() { # what folder command…
  what=$1 filled=$2
  shift 2
  began=$(date +%s)
  [ -t 3 ] || echo "s2: $what" >&3
  tell_at=10
  # It sees by itself when the script has been killed: nobody could tell it.
  (while sleep 1 3>&- && kill -0 $$ 2>/dev/null; do tell_progress; done) >/dev/null 2>&1 </dev/null &
  ticking=$!
  ended=0
  "$@" 3>&- || ended=$?
  kill "$ticking" 2>/dev/null
  wait "$ticking" 2>/dev/null || true
  took=$(($(date +%s) - began))
  if [ -t 3 ]; then printf '\r\033[Ks2: %s: %s s\n' "$what" "$took" >&3; else echo "s2: $what: $took s" >&3; fi
  return "$ended"
}

tell_progress() {
  took=$(($(date +%s) - began))
  so_far=$(du -sm "$filled" 2>/dev/null | cut -f1)
  case $so_far in '' | 0) so_far='' ;; *) so_far=", $so_far MB so far" ;; esac
  if [ -t 3 ]; then
    printf '\r\033[Ks2: %s: %s s%s' "$what" "$took" "$so_far" >&3
  elif [ "$took" -ge "$tell_at" ]; then
    tell_at=$((took + 10))
    echo "s2: $what: $took s$so_far" >&3
  fi
}

exec 3>&2
