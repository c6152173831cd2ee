#!/bin/sh
# The entry point of a container: starts a service by its name, or the command line. It reports what a container lacks, because
# the programs do not know that they run in one.
set -eu

# The first process of a container gets no signal that it does not handle, and has to reap orphans: tini does both.
[ $$ -ne 1 ] || exec tini -- "$0" "$@"

fail() {
  printf 's2: %s\n  next: %s\n' "$1" "$2" >&2
  exit 78
}

# A secret without a file is mounted as an empty file; docker-compose 1.29 mounts one with a missing file as a folder.
secret() { # name, what it is, the setting that names its file
  file=/run/secrets/$1
  [ ! -d "$file" ] || fail "the $2 ($file) is a folder: the file that $3 names is missing on the host" "put the file where $3 in .env says, and remove the empty folder there"
  [ -s "$file" ] || fail "the $2 is missing ($file)" "name its file in .env, $3=./secrets/$1, or mount it there"
  [ -r "$file" ] || fail "the $2 ($file) cannot be read by uid $(id -u)" "on the host: chown $(id -u) and chmod 400 the file that $3 names"
}

case ${1:-} in
  bridge | keepalive | fs-watcher | cred-sync | watchdog) program=$1 ;;
  work)
    if [ $# -eq 1 ]; then
      [ -n "${AGENT_EXEC:-}" ] || fail 'nothing says how tasks are done here' "write AGENT_EXEC into .env, for example AGENT_EXEC='claude -p -- \"\$S2_TASK_DESCRIPTION\"'"
      set -- work --exec "$AGENT_EXEC"
    fi
    exec s2 "$@"
    ;;
  *) exec s2 "$@" ;;
esac
[ $# -eq 1 ] || fail "$program takes no arguments: $*" 'settings are environment variables; s2 config lists them'

# One volume may hold the whole state, or several what each program needs of it (compose.yaml).
case $program in
  keepalive) folders='inbox outbox agents held credentials hints run' ;;
  fs-watcher) folders='watcher run' ;;
  cred-sync) folders='. keys credentials hints run' ;;
  *) folders=. ;;
esac
for each in $folders; do
  folder=$S2_STATE/$each
  [ -e "$folder" ] || folder=$S2_STATE # where it will be made
  folder=${folder%/.}
  [ -w "$folder" ] || fail "$folder cannot be written by uid $(id -u)" 'mount a volume there that belongs to this user'
done
# A database in the container's own root or memory goes with the container, and nobody else sees it.
case ${S2_STORE:-} in
  sqlite:/*)
    folder=$(dirname "${S2_STORE#sqlite:}")
    if [ ! -d "$folder" ] || [ "$(stat --format=%m "$folder")" = / ] || [ "$(stat --file-system --format=%T "$folder")" = tmpfs ]; then
      fail "S2_STORE=$S2_STORE is in no folder of the host" 'mount its folder: STORE_FOLDER=/srv/bridge in .env mounts that one at /srv/store, and S2_STORE=sqlite:/srv/store/bridge.db names the database in it'
    fi
    ;;
esac
# Until compose.yaml gave each program its own, all shared the volume of cred-sync. Nobody carries what waits there.
if [ "${STATE_IS_OWN:-no}" = yes ] && [ -n "$(find "$S2_STATE/inbox/new" "$S2_STATE/inbox/cur" "$S2_STATE/outbox/new" -type f -print -quit 2>/dev/null)" ]; then
  printf 's2: messages from before the upgrade lie in the volume "state", where nobody carries them\n  next: move them, as docs/install.md says (From one volume for all)\n' >&2
fi
if [ "$program" = cred-sync ]; then
  if [ "${S2_IDENTITY:-}" = /run/secrets/identity ]; then
    secret identity 'file with the keys of this worker' IDENTITY
    case $(stat --dereference --format=%a "$S2_IDENTITY") in
      *00) ;;
      *) fail "the file with the keys of this worker ($S2_IDENTITY) can be read by others" 'on the host: chmod 400 the file that IDENTITY names' ;;
    esac
  fi
  case ${S2_GIT_REMOTE:-} in
    ssh://* | [!/:]*@*:*)
      [ "${S2_ISSUER:-no}" = no ] && may=read || may='push to'
      secret git_key "ssh key that may $may S2_GIT_REMOTE" GIT_KEY
      secret git_known_hosts 'host key of S2_GIT_REMOTE, as ssh-keyscan prints it,' GIT_KNOWN_HOSTS
      ;;
  esac
fi
if [ "$program" = watchdog ] && [ -s /run/secrets/alert_webhook ]; then
  secret alert_webhook 'address that is told of incidents' ALERT_WEBHOOK
  S2_ALERT_WEBHOOK=$(cat /run/secrets/alert_webhook)
  export S2_ALERT_WEBHOOK
fi

# The program and process that healthy.sh checks, and ends: exec keeps the process id.
echo "$program $$" >/tmp/s2 || fail '/tmp cannot be written' 'with a read-only root, mount a tmpfs there: --tmpfs /tmp'
exec node "/opt/s2/dist/$program.js"
