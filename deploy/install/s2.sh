#!/bin/sh
# The command of the S2 that is installed in @PREFIX@. It speaks for its services, so it runs as their user, with their
# folder (S2_STATE) and their settings: what root made in their folder they could not read.
set -eu

run() { exec @PREFIX@/current/bin/node "$@"; }
s2=@PREFIX@/current/dist/s2.js

# Node takes NODE_EXTRA_CA_CERTS from the environment that it starts with: --env-file comes too late for it.
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r @ETC@/s2.env ]; then
  trusted=$(sed -n 's/^[[:space:]]*NODE_EXTRA_CA_CERTS=//p' @ETC@/s2.env | tail -n 1 | sed 's/[[:space:]]*$//; s/^"\(.*\)"$/\1/; s/^'"'\(.*\)'"'$/\1/')
  if [ -n "$trusted" ]; then export NODE_EXTRA_CA_CERTS="$trusted"; fi
fi

# These two write among the settings, which are not the services' to write: they run as whoever calls.
case "${1:-} ${2:-}" in
  'init '*) shift; run "$s2" init @INIT@ "$@" ;;
  'certificate create')
    # The one that is set is renewed where it lies.
    grep -qs '^[[:space:]]*S2_TLS_CERT=' @ETC@/s2.env || { shift 2; set -- certificate create --folder @ETC@/tls "$@"; }
    ;;
esac
if [ "${1:-}" = certificate ]; then
  if [ -r @ETC@/s2.env ]; then run --env-file=@ETC@/s2.env "$s2" "$@"; else run "$s2" "$@"; fi
fi
if [ -n "${S2_STATE:-}" ]; then run "$s2" "$@"; fi

if [ "$(id -u)" = 0 ]; then
  HOME=$(getent passwd @USER@ | cut -d: -f6)
  export HOME
  set_user='setpriv --reuid=@USER@ --regid=@GROUP@ --init-groups @COMMAND@'
  case "${1:-} ${2:-} $*" in
    'conversation create '*' --out'* | 'credential rotate '*' --out'*) ;;
    *) exec $set_user "$@" ;;
  esac
  # A file for --out belongs to whoever calls: it is made where the services may write, and moved to where the caller may.
  umask 077
  # The folder around it is root's: its owner could put a link in the place of a folder in /tmp.
  around=$(mktemp -d /tmp/s2.XXXXXX)
  trap 'rm -rf "$around"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  chmod 711 "$around"
  draft=$around/files
  mkdir "$draft"
  chown @USER@ "$draft"
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
  give() { chown -h "${SUDO_UID:-0}:${SUDO_GID:-0}" "$1"; }
  [ -d "$out" ] || { mkdir -- "$out" 2>/dev/null && give "$out"; } || true
  [ -w "$out" ] || { printf 's2: %s cannot be written\n  next: name another folder with --out\n' "$out" >&2; exit 1; }
  code=0
  said=$($set_user "$@") || code=$?
  for file in "$draft"/*; do
    [ -f "$file" ] || continue
    mv -- "$file" "$out/" || { trap - EXIT; printf 's2: %s could not be moved to %s\n  next: move it yourself\n' "$file" "$out" >&2; exit 1; }
    give "$out/$(basename "$file")"
  done
  [ -z "$said" ] || printf '%s\n' "$said" | sed "s#$draft#$(printf %s "${out%/}" | sed 's/[&#\]/\\&/g')#g"
  exit $code
fi
if [ "$(id -un)" != @USER@ ]; then run "$s2" "$@"; fi

# The caller's folder may be closed to the services' user, as homes are: a command that is run there would not start.
(cd "$PWD") 2>/dev/null || {
  [ "${1:-}" != work ] || printf 's2: the user @USER@ cannot enter %s: tasks are done in %s\n' "$PWD" @STATE@ >&2
  cd @STATE@
}

export S2_STATE=@STATE@
settings=@SETTINGS@
if [ -n "$settings" ] && [ -r "$settings" ]; then run --env-file="$settings" "$s2" "$@"; fi
run "$s2" "$@"
