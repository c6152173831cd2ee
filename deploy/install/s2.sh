#!/bin/sh
# The command of the S2 that is installed in @PREFIX@. It runs as the user of its services, with their folder (S2_STATE) and
# settings, because they could not read files that root makes in their folder.
set -eu

run() { exec @PREFIX@/current/bin/node "$@"; }
s2=@PREFIX@/current/dist/s2.js

# Node reads NODE_EXTRA_CA_CERTS at its start, before --env-file.
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r @ETC@/s2.env ]; then
  trusted=$(sed -n 's/^[[:space:]]*NODE_EXTRA_CA_CERTS=//p' @ETC@/s2.env | tail -n 1 | sed 's/[[:space:]]*$//; s/^"\(.*\)"$/\1/; s/^'"'\(.*\)'"'$/\1/')
  if [ -n "$trusted" ]; then export NODE_EXTRA_CA_CERTS="$trusted"; fi
fi

# These two commands write settings, which the services may not write: they run as the caller.
case "${1:-} ${2:-}" in
  'init '*) shift; run "$s2" init @INIT@ "$@" ;;
  'certificate create' | 'keys tls')
    # A certificate that is set is renewed in its place.
    grep -qs '^[[:space:]]*S2_TLS_CERT=' @ETC@/s2.env || { shift 2; set -- keys tls --folder @ETC@/tls "$@"; }
    ;;
esac
if [ "${1:-}" = certificate ] || [ "${1:-}" = keys ]; then
  if [ -r @ETC@/s2.env ]; then run --env-file=@ETC@/s2.env "$s2" "$@"; else run "$s2" "$@"; fi
fi
if [ -n "${S2_STATE:-}" ]; then run "$s2" "$@"; fi

if [ "$(id -u)" = 0 ]; then
  HOME=$(getent passwd @USER@ | cut -d: -f6)
  export HOME
  set_user='setpriv --reuid=@USER@ --regid=@GROUP@ --init-groups @COMMAND@'
  case "${1:-} ${2:-} $*" in
    'worker prepare '*' --out'*) ;;
    *) exec $set_user "$@" ;;
  esac
  # A file for --out belongs to the caller: it is made where the services may write, then moved to where the caller may.
  umask 077
  # The folder around it belongs to root, because the owner of a folder in /tmp could replace it with a link.
  around=$(mktemp -d /tmp/s2.XXXXXX)
  trap 'rm -rf "$around"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  chmod 711 "$around"
  mkdir "$around/files"
  chown @USER@ "$around/files"
  draft=$around/files/keys
  out='' before=''
  for word; do
    shift
    case $before,$word in
      --out,*) out=$word word=$draft ;;
      *,--out=*) out=${word#--out=} word=--out=$draft ;;
    esac
    before=$word
    set -- "$@" "$word"
  done
  [ -n "$out" ] || { rm -rf "$around"; exec $set_user "$@"; }
  # What would prevent it is said before the worker is admitted.
  [ ! -e "$out" ] && [ ! -L "$out" ] || { printf 's2: %s exists already\n  next: name another file with --out, or remove that one\n' "$out" >&2; exit 1; }
  [ -w "$(dirname -- "$out")" ] || { printf 's2: %s cannot be written\n  next: name another file with --out\n' "$out" >&2; exit 1; }
  code=0
  said=$($set_user "$@") || code=$?
  if [ -f "$draft" ]; then
    mv -- "$draft" "$out" || { trap - EXIT; printf 's2: %s could not be moved to %s\n  next: move it yourself\n' "$draft" "$out" >&2; exit 1; }
    chown -h "${SUDO_UID:-0}:${SUDO_GID:-0}" "$out"
  fi
  [ -z "$said" ] || printf '%s\n' "$said" | sed "s#$draft#$(printf %s "$out" | sed 's/[&#\]/\\&/g')#g"
  exit $code
fi
# The agent that shares the folder with the services.
if [ "$(id -un)" = '@APART@' ]; then export S2_STATE=@STATE@; fi
if [ "$(id -un)" != @USER@ ]; then run "$s2" "$@"; fi

# The services' user may not enter the caller's folder, such as a home: a command would not start there.
(cd "$PWD") 2>/dev/null || {
  [ "${1:-}" != work ] || printf 's2: the user @USER@ cannot enter %s: tasks are done in %s\n' "$PWD" @STATE@ >&2
  cd @STATE@
}

export S2_STATE=@STATE@
settings=@SETTINGS@
if [ -n "$settings" ] && [ -r "$settings" ]; then run --env-file="$settings" "$s2" "$@"; fi
run "$s2" "$@"
