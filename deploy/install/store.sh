# A database that lies elsewhere (S2_STORE), such as the one that the Python bridge made: the services reach it, or it is refused.
# shellcheck shell=sh

# Whether system services are shut out of a path: they see no home, and have a /tmp of their own.
is_out_of_reach() { # path
  case $(real "$1")/ in
    /home/* | /root/* | /run/* | /tmp/* | /var/tmp/* | /dev/* | /proc/* | /sys/*) return 0 ;;
  esac
  return 1
}

# Sets `store`, the file that S2_STORE names, and `store_folder` where that is no folder of ours; empty where there is none.
find_store() {
  store='' store_folder=''
  [ "$ROLE" != worker ] || return 0
  set --
  for file in "$DESTDIR$ETC/s2.env" "$DESTDIR$ETC/s2-bridge.env"; do
    [ ! -e "$file" ] || set -- "$@" --file "$file"
  done
  [ $# -gt 0 ] || return 0
  # Wrong settings are told of by check_settings.
  store=$(env -i PATH="$PATH" HOME="$STATE" "$(command -v node)" "$here/dist/s2.js" config bridge --json "$@" 2>/dev/null |
    sed -n '/"name": "S2_STORE"/{n;s#.*"value": "sqlite:\(/.*\)",$#\1#p;q}')
  [ -n "$store" ] && ! lies_in "$(dirname "$store")" "$STATE" || return 0
  store_folder=$(real "$(dirname "$store")")
}

check_store() {
  for_host && [ -n "$store_folder" ] || return 0
  case $store_folder in
    *[!A-Za-z0-9._/+@-]*) fail "S2_STORE=sqlite:$store cannot be given to the services" 'use letters, digits, dots, dashes and slashes' 64 ;;
  esac
  share="mkdir -p $store_folder; chgrp GROUP $store_folder; chmod 2770 $store_folder, with a group of both: docs/operate.md, Beside the Python bridge"
  ! is_out_of_reach "$store_folder" ||
    fail "S2_STORE=sqlite:$store lies where the services are not let in" "stop what uses it, move it with its -wal to a folder like /srv/bridge, and give both programs that path: docs/operate.md, Beside the Python bridge" 64
  [ -d "$store_folder" ] || fail "the folder of S2_STORE=sqlite:$store is missing" "$share"
  getent passwd "$owner" >/dev/null || return 0 # made by this installation, and then in no group of others
  setpriv --reuid="$owner" --regid="$group" --init-groups test -w "$store_folder" -a -x "$store_folder" ||
    fail "the folder of S2_STORE=sqlite:$store cannot be written by $owner" "usermod -aG GROUP $owner; $share"
}

# ProtectSystem=strict leaves the services their own folder alone. Without the folder they start, and the bridge says what is missing.
stage_store() {
  [ $MODE = system ] && [ -n "$store_folder" ] || return 0
  for unit in s2-bridge s2-watchdog s2-fs-watcher s2-cred-sync s2-backup; do
    [ -e "$stage/$unit.service" ] || continue
    mkdir -p "$stage/$unit.service.d"
    printf '# The folder of S2_STORE, by make install.\n\n[Unit]\nRequiresMountsFor=%s\n\n[Service]\nReadWritePaths=-%s\n' "$store_folder" "$store_folder" \
      >"$stage/$unit.service.d/40-store.conf"
  done
}
