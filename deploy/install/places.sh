# Checks of the folders of an installation: writable here, readable by the services, and used by no other program.
# shellcheck shell=sh

# The folder, or the nearest existing one above it.
nearest() {
  near=$1
  until [ -e "$near" ]; do near=$(dirname "$near"); done
  printf '%s\n' "$near"
}
free_kb() { df -Pk "$(nearest "$1")" | awk 'NR == 2 { print $4 }'; }

check_places() {
  if [ -e "$at" ] && [ ! -f "$at/.s2" ] && [ -n "$(ls -A "$at" 2>/dev/null)" ]; then
    fail "$at holds something that is not S2" 'choose another PREFIX, or move that away'
  fi
  # shellcheck disable=SC2086 # a path has no blanks
  for path in "$PREFIX" "$ETC" $states "$UNITS" "$BIN"; do check_place "$path"; done
  check_apart
  check_reach
  check_contents
  free=$(free_kb "$at")
  [ "$free" -gt 300000 ] || fail "only $free kB are free at $at; 300 MB are wanted" 'make room, or choose another PREFIX'
  for path in "$ETC" "$UNITS" "$BIN" "$STATE"; do
    free=$(free_kb "$DESTDIR$path")
    [ "$free" -gt 1000 ] || fail "only $free kB are free at $DESTDIR$path; 1 MB is wanted" 'make room there, or choose another place'
  done
}

check_place() { # path
  inside=$DESTDIR$1
  if [ -L "$inside" ] && [ ! -e "$inside" ]; then
    fail "$inside is a link to $(readlink "$inside"), which is not there" 'mount that disk or make that folder, or remove the link'
  fi
  near=$(nearest "$inside")
  [ -d "$near" ] && [ -w "$near" ] || fail "$inside cannot be written ($near)" 'choose a place on a writable file system that is yours: PREFIX, ETC, STATE, UNITS, BIN'
  windows=''
  if is_wsl; then case $(real "$inside")/ in /mnt/[a-zA-Z]/*) windows=yes ;; esac; fi
  case $(stat -L -f -c %T "$near") in v9fs | 9p | fuseblk | ntfs* | nfs | cifs | smb2 | virtiofs) windows=yes ;; esac
  [ -z "$windows" ] || fail "$1 lies on a drive of Windows or of the network" 'choose a place on a local Linux disk: databases, locks and watches break there'
}

# The folders may not contain each other: each is removed on its own and has its own owner.
check_apart() {
  # shellcheck disable=SC2086
  set -- "$PREFIX" "$ETC" $states
  while [ $# -gt 1 ]; do
    first=$1
    shift
    for second; do
      ! meet "$DESTDIR$first" "$DESTDIR$second" || fail "$first and $second lie in one another" 'give programs, settings and data folders of their own: PREFIX, ETC, STATE' 64
    done
  done
}

# Another installation must not use the same folders.
check_others() {
  for path in "$PREFIX" "$ETC" $states; do
    other=$(other_with "$path" PREFIX ETC STATE STATE-worker)
    [ -z "$other" ] || fail "$path lies in what the installation in $other has for itself" "choose other places, or remove that one: make uninstall$suffix PREFIX=$other" 64
  done
  for name in UNITS BIN; do
    eval "path=\$$name"
    other=$(other_with "$path" $name)
    [ -z "$other" ] || fail "$path has the units and the command of the installation in $other" "a host has one: make install$suffix PREFIX=$other upgrades it, make uninstall$suffix PREFIX=$other removes it" 64
  done
}

# System services see no home and no /tmp, and do not run as root.
check_reach() {
  for_host || return 0
  # shellcheck disable=SC2086
  for path in "$PREFIX" "$ETC" $states; do
    is_out_of_reach "$path" || continue
    [ "$(real "$path")" = "$path" ] || path="$path (a link to $(real "$path"))"
    fail "$path lies where the services are not let in" 'choose a place like /opt, /srv or /var/lib, or run make install-user' 64
  done
  stranger=65534
  # Everybody must reach the programs and the command; of settings and data only the folders above them.
  # shellcheck disable=SC2086
  for path in "$PREFIX/releases" "$BIN/s2" "$ETC" $states; do
    above=$(nearest "$(dirname "$(real "$path")")")
    setpriv --reuid=$stranger --regid=$stranger --clear-groups test -x "$above" ||
      fail "$path lies where the services are not let in: $above is closed" "open the folders above it (chmod o+x), or choose another place"
  done
}

# An existing folder gets our owner and mode only where its content is S2's.
check_contents() {
  for path in $states; do
    folder=$DESTDIR$path
    [ -e "$folder" ] || continue
    [ -z "${agent_home:-}" ] || ! lies_in "$agent_home" "$folder" ||
      fail "$path holds the home of $AGENT" 'choose another STATE: the data have a folder of their own' 64
    [ "$(stat -L -c %U "$folder")" != "$(owner_of "$path")" ] || continue
    has_our_data "$folder" || fail "$(named "$path") holds something that is not S2's" 'choose another STATE, or move that away'
  done
  has_our_settings "$DESTDIR$ETC" ||
    fail "$(named "$ETC") holds something that is not S2's" 'choose another ETC, such as a folder s2 in it'
}

# Names such as .ssh, keys and run are common in other folders too, so they do not prove that data are S2's.
has_our_data() { # folder: it is empty, or holds data of an S2
  beside=$(ls -A "$1" 2>/dev/null | grep -vxE 'lost\+found|run|hints|watcher|\.ssh')
  [ -n "$beside" ] || return 0
  [ "$beside" != keys ] || [ -n "$(ls -A "$1/keys" 2>/dev/null)" ] || return 0 # of an installation that was cut off
  for sign in bridge.db inbox outbox credentials git/HEAD keys/identity.json; do [ ! -e "$1/$sign" ] || return 0; done
  return 1
}
has_our_settings() { # folder, which may be a link to one with another name
  case $(basename "$(real "$1")") in s2*) return 0 ;; esac
  [ -z "$(ls -A "$1" 2>/dev/null)" ] || [ -e "$1/s2.env" ]
}

# A folder is not removed where its link now leads to something else.
why_not_ours() { # ETC or a STATE: prints the reason to keep it, or nothing
  folder=$DESTDIR$1
  [ -d "$folder" ] || return 0
  lead=$(named "$1")
  for path in / /bin /boot /etc /home /lib /opt /root /sbin /srv /usr /var ${HOME:+"$HOME"} "$PREFIX"; do
    if lies_in "$path" "$folder"; then echo "$lead holds $path too" && return; fi
  done
  if [ "$1" = "$ETC" ]; then has_our_settings "$folder" || echo "$lead holds something that is not S2's"
  elif ! has_our_data "$folder"; then echo "$lead holds something that is not S2's"
  elif for_host && [ "$(stat -L -c %U "$folder")" != "$(owner_of "$1")" ]; then echo "$lead is not of $(owner_of "$1")"
  fi
}

# The code that is to be installed reads the settings, so that wrong ones are refused before anything changes.
check_settings() {
  for service in $services; do
    set --
    for file in "$DESTDIR$ETC/s2.env" "$DESTDIR$ETC/$service.env"; do
      [ ! -e "$file" ] || set -- "$@" --file "$file"
    done
    [ $# -gt 0 ] || continue
    said=$(env -i PATH="$PATH" HOME="$STATE" "$(command -v node)" "$here/dist/s2.js" config "$(program_of "$service")" --json "$@" 2>&1 >/dev/null) ||
      fail "the settings of $service are wrong: $said" "mend them in $ETC, then try again; nothing was changed"
  done
  for file in "$DESTDIR$ETC"/*.env; do
    ! grep -qs '^ *S2_STATE=' "$file" ||
      fail "$file sets S2_STATE, where the services do not look" "take the line out: data lie in $STATE, which may be a link to another disk"
  done
}
