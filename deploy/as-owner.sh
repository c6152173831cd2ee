#!/bin/sh
# Runs a command as the owner of the checkout, also where root calls it (sudo make install): what set-up and builds write
# there stays the owner's, and set-up and builds run nothing of the owner's with root's rights.
#   deploy/as-owner.sh COMMAND…
set -eu
cd "$(dirname "$0")/.."

owner=$(stat -c %u .)
[ "$(id -u)" = 0 ] && [ "$owner" != 0 ] || exec "$@"
IFS=: read -r name _ _ group _ home _ <<TEXT
$(getent passwd "$owner")
TEXT
if [ -n "$name" ]; then groups=--init-groups; else groups=--clear-groups group=$(stat -c %g .) name=$owner home=/nonexistent; fi
# In a container that maps no users, or below a folder of root's own, the owner could not do it: there root does it as root.
setpriv --reuid="$owner" --regid="$group" $groups test -w "$PWD" || exec "$@"
exec setpriv --reuid="$owner" --regid="$group" $groups \
  env -u XDG_CACHE_HOME -u XDG_CONFIG_HOME -u XDG_RUNTIME_DIR "HOME=$home" "USER=$name" "LOGNAME=$name" "$@"
