#!/bin/sh
# Installs S2 on this host, upgrades it in place, or removes it. `make install` calls it; run `deploy/install.sh --help`.
#
# Every version lies whole in a folder of its own under PREFIX/releases, with its own Node, and `current` is a link to the
# one in force: an upgrade is one rename of that link, and so is the way back. A host has one half, or with ROLE=both two
# that share nothing: the orchestrator's, and a worker's with units, a user and a folder of its own.
set -eu

usage() {
  cat <<'TEXT'
usage: deploy/install.sh install|uninstall             for the whole host, as root
       deploy/install.sh install-user|uninstall-user   for yourself, without root (systemd --user)
       (from a built checkout; make does both steps)

  ROLE=orchestrator|worker|both   what this host is (default: what was installed here before, else orchestrator)
  AGENT=name                      whole host: the worker's services run as this user, whose agent they wake
  PREFIX=/opt/s2                  where the programs go                     (~/.local/opt/s2)
  ETC=/etc/s2                     where the settings go; never overwritten  (~/.config/s2)
  STATE=/var/lib/s2               where the data go                         (~/.local/state/s2)
  UNITS=, BIN=                    where units and the command go            (~/.local/share/systemd/user, ~/.local/bin)
  DESTDIR=                        install below this folder, for packages: nothing is started, no user is made
  PURGE=1                         uninstall: settings and data too
TEXT
}

say() { printf 's2 install: %s\n' "$*"; }
fail() { # what next [exit code]
  printf 's2 install: %s\n  next: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

here=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in *-user) MODE=user ;; *) MODE=system ;; esac
DESTDIR=${DESTDIR:-}
ROLE=${ROLE:-}
AGENT=${AGENT:-}
if [ $MODE = user ]; then
  [ -n "${HOME:-}" ] || fail 'HOME is not set' 'name your home: HOME=/home/you make install-user' 64
  PREFIX=${PREFIX:-$HOME/.local/opt/s2}
  ETC=${ETC:-${XDG_CONFIG_HOME:-$HOME/.config}/s2}
  STATE=${STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/s2}
  UNITS=${UNITS:-${XDG_DATA_HOME:-$HOME/.local/share}/systemd/user}
  BIN=${BIN:-$HOME/.local/bin}
else
  PREFIX=${PREFIX:-/opt/s2}
  ETC=${ETC:-/etc/s2}
  STATE=${STATE:-/var/lib/s2}
  # Not in /etc: what lies there is the administrator's (`systemctl edit --full`) and wins over this.
  UNITS=${UNITS:-/usr/local/lib/systemd/system}
  BIN=${BIN:-/usr/local/bin}
  umask 022 # what root lays is read by the services' users, whatever root's own mask is
fi
# Tests put other files in their place, to be on WSL where they are not.
OSRELEASE=${OSRELEASE:-/proc/sys/kernel/osrelease}
SYSTEMD=${SYSTEMD:-/run/systemd/system}

ctl() { if [ $MODE = user ]; then systemctl --user "$@"; else systemctl "$@"; fi; }
live() { [ -z "$DESTDIR" ]; }
has_systemd() { [ -d "$SYSTEMD" ] && command -v systemctl >/dev/null; }
systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }
is_wsl() { grep -qi microsoft "$OSRELEASE" 2>/dev/null || [ -n "${WSL_INTEROP:-}" ]; }
is_wsl1() { grep -q 'Microsoft$' "$OSRELEASE" 2>/dev/null; } # WSL 2 says microsoft-standard-WSL2

# The folder, or the nearest one above it that is there.
nearest() {
  near=$1
  until [ -e "$near" ]; do near=$(dirname "$near"); done
  printf '%s\n' "$near"
}

check_words() {
  for path in "$PREFIX" "$ETC" "$STATE" "$UNITS" "$BIN"; do
    case $path in
      /*[!A-Za-z0-9._/+@-]* | */) fail "the path $path cannot be used" 'use letters, digits, dots, dashes and slashes, but none at the end' 64 ;;
      /*) ;;
      *) fail "the path $path is not absolute" 'begin it with /' 64 ;;
    esac
  done
  was=''
  if [ -f "$DESTDIR$PREFIX/role" ]; then was=$(cat "$DESTDIR$PREFIX/role"); fi
  ROLE=${ROLE:-${was:-orchestrator}}
  case $ROLE in
    orchestrator | worker | both) ;;
    *) fail "ROLE=$ROLE is not known" 'use ROLE=orchestrator, ROLE=worker or ROLE=both' 64 ;;
  esac
  if [ -f "$DESTDIR$PREFIX/agent" ]; then AGENT=${AGENT:-$(cat "$DESTDIR$PREFIX/agent")}; fi
  [ -z "$AGENT" ] || [ "$ROLE" != orchestrator ] || fail 'AGENT is the user of a worker' 'use it with ROLE=worker or ROLE=both' 64
}

# What the halves of this role are called, and whose they are.
plan() {
  owner=s2 group=s2
  worker_owner=s2-worker worker_group=s2-worker worker_state=$STATE-worker
  [ $MODE = system ] || owner=$(id -un) group=$(id -gn) worker_owner=$(id -un) worker_group=$(id -gn)
  if [ -n "$AGENT" ]; then
    worker_owner=$AGENT
    worker_group=$(id -gn "$AGENT" 2>/dev/null || echo "$AGENT")
    [ "$ROLE" = worker ] && owner=$worker_owner group=$worker_group
  fi
  case $ROLE in
    orchestrator) services='s2-bridge s2-watchdog s2-fs-watcher s2-keepalive' targets=s2-orchestrator.target ;;
    worker) services='s2-keepalive s2-fs-watcher s2-cred-sync' targets=s2-worker.target ;;
    both)
      services='s2-bridge s2-watchdog s2-fs-watcher s2-keepalive s2-worker-keepalive s2-worker-fs-watcher s2-cred-sync'
      targets='s2-orchestrator.target s2-worker.target'
      ;;
  esac
}
program_of() { case $1 in s2-worker-*) echo "${1#s2-worker-}" ;; *) echo "${1#s2-}" ;; esac; }

# Everything that can go wrong is asked before anything is changed.
check_host() {
  [ -f "$here/dist/s2.js" ] || fail 'nothing is built here' 'run make install, which builds first'
  live || return 0
  if [ $MODE = system ]; then
    [ "$(id -u)" = 0 ] || fail 'a system-wide installation wants root' 'use sudo make install, or make install-user for yourself alone'
    has_systemd || fail 'systemd does not run on this machine' "$(without_systemd)"
    check_users
  else
    [ "$(id -u)" != 0 ] || fail 'root has no services of its own' 'run make install-user as the person whose agent it is, or make install for the whole host'
    [ -z "$AGENT" ] || fail 'AGENT is for a system-wide installation' 'leave it away: services of your own run as you' 64
    has_systemd || fail 'systemd does not run on this machine' "$(without_systemd)"
    if [ -z "${XDG_RUNTIME_DIR:-}" ] && [ -d "/run/user/$(id -u)" ]; then XDG_RUNTIME_DIR=/run/user/$(id -u) && export XDG_RUNTIME_DIR; fi
    systemctl --user show --property=Version >/dev/null 2>&1 ||
      fail "no service manager of $(id -un) answers" "log in as yourself (su and sudo -u do not start one), or as root: loginctl enable-linger $(id -un) (with the package libpam-systemd)"
  fi
}

without_systemd() {
  if is_wsl1; then
    printf 'this is WSL 1, which cannot run systemd: wsl --set-version %s 2 in Windows, or run s2 up FLEET.json under the supervisor you have' "${WSL_DISTRO_NAME:-<distribution>}"
  elif is_wsl; then
    printf 'put the two lines "[boot]" and "systemd=true" into /etc/wsl.conf, run wsl --shutdown in Windows, and try again; or run s2 up FLEET.json under the supervisor you have'
  else
    printf 'run s2 up FLEET.json under the supervisor you have'
  fi
}

check_users() {
  for name in $owner $worker_owner; do
    case "$name $ROLE" in 's2-worker orchestrator' | 's2-worker worker') continue ;; esac
    if [ "$name" = "$AGENT" ]; then
      getent passwd "$name" >/dev/null || fail "there is no user $name" 'AGENT names the user whose agent is woken' 64
      [ "$(id -u "$name")" != 0 ] || fail 'an agent does not run as root' 'AGENT names an ordinary user' 64
    elif home=$(getent passwd "$name" | cut -d: -f6) && [ -n "$home" ]; then
      case $home in "$STATE" | "$STATE-worker") ;; *) fail "the user $name is somebody else (home $home)" "rename that user: S2's services run as $name" ;; esac
    else
      command -v useradd >/dev/null || fail 'useradd is missing' "install it (Debian: apt-get install passwd), or make a system user $name with the home $STATE"
    fi
  done
}

check_place() {
  if [ -e "$DESTDIR$PREFIX" ] && [ ! -f "$DESTDIR$PREFIX/.s2" ] && [ -n "$(ls -A "$DESTDIR$PREFIX" 2>/dev/null)" ]; then
    fail "$DESTDIR$PREFIX holds something that is not S2" 'choose another PREFIX, or move that away'
  fi
  case "$was $ROLE" in
    'worker orchestrator' | 'worker both' | 'orchestrator worker' | 'both worker')
      fail "this host is installed as: $was" "its data belong to that: make uninstall first, and move $STATE away, to make it: $ROLE" ;;
  esac
  for path in "$PREFIX" "$ETC" "$STATE" "$UNITS" "$BIN"; do
    near=$(nearest "$DESTDIR$path")
    [ -d "$near" ] && [ -w "$near" ] || fail "$DESTDIR$path cannot be written ($near)" 'choose a place on a writable file system that is yours: PREFIX, ETC, STATE, UNITS, BIN'
    windows=''
    if is_wsl; then case $path in /mnt/[a-zA-Z] | /mnt/[a-zA-Z]/*) windows=yes ;; esac; fi
    case $(stat -f -c %T "$near") in v9fs | 9p | fuseblk | ntfs* | nfs | cifs | smb2 | virtiofs) windows=yes ;; esac
    [ -z "$windows" ] || fail "$path lies on a drive of Windows or of the network" 'choose a place on a local Linux disk: databases, locks and watches break there'
  done
  if [ $MODE = system ]; then
    case $STATE in /var/lib/?*) ;; *) fail "STATE=$STATE is not below /var/lib, where systemd keeps the data of services" 'choose a folder there; it may be a link to another disk' 64 ;; esac
    case $PREFIX in /home/* | /root/* | /tmp/* | /var/tmp/*) fail "PREFIX=$PREFIX lies where the services are not let in" 'choose a place like /opt or /srv, or run make install-user' 64 ;; esac
  fi
  free=$(df -Pk "$(nearest "$DESTDIR$PREFIX")" | awk 'NR == 2 { print $4 }')
  [ "$free" -gt 300000 ] || fail "only $free kB are free at $DESTDIR$PREFIX; 300 MB are wanted" 'make room, or choose another PREFIX'
  command=$DESTDIR$BIN/s2
  if [ -e "$command" ] && ! grep -qs 'S2_STATE' "$command"; then
    fail "$command is there and is another program" 'move it away, or choose another BIN'
  fi
}

# A unit of that name which nobody here laid is somebody's: it is not ours to replace.
check_units() {
  (cd "$stage" && find . -type f) | while read -r file; do
    [ -e "$DESTDIR$UNITS/$file" ] || continue
    grep -qs " $file\$" "$DESTDIR$PREFIX/laid" || cmp -s "$stage/$file" "$DESTDIR$UNITS/$file" ||
      fail "$DESTDIR$UNITS/${file#./} is there and is not from S2" 'move it away, or choose another UNITS'
  done
}

# The settings are read by the code that is to be installed: what it would refuse, it shall refuse now.
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

# Marks the place as ours, and lets nobody else work there until this process ends.
alone() {
  exec 9>"$DESTDIR$PREFIX/.s2"
  flock --nonblock 9 || fail "another installation or removal is at work in $DESTDIR$PREFIX" 'wait for its end, then try again'
}

# A release is named after what is in it, so that installing the same again changes nothing.
release_id() {
  (cd "$here" && { cat package.json package-lock.json; find dist systemd -type f ! -name '.*' | LC_ALL=C sort | xargs cat; node --version; ls -d node_modules/node-inotify/build node_modules/unix-dgram/build 2>/dev/null; } | sha256sum | cut -c1-12)
}

lay_release() {
  release="$DESTDIR$PREFIX/releases/$id"
  [ -f "$release/.whole" ] && return
  rm -rf "$release.part"
  copy_release "$release.part" || {
    rm -rf "$release.part"
    [ -e "$DESTDIR$PREFIX/current" ] || rm -rf "$DESTDIR$PREFIX"
    fail "the new version could not be copied to $DESTDIR$PREFIX" 'see whether the disk is full; what was installed before is still in force'
  }
  rm -rf "$release"
  mv "$release.part" "$release"
}

copy_release() { # folder
  "$here/deploy/release.sh" "$1" &&
    sha256sum <"$1/bin/node" >"$1/bin/node.sum" &&
    cp -R "$here/systemd" "$1/systemd" &&
    chmod -R go=u-w "$1/systemd" || return
  # The same Node as before takes no room twice.
  if [ -n "$before" ] && cmp -s "$1/bin/node" "$DESTDIR$PREFIX/releases/$before/bin/node"; then
    ln -f "$DESTDIR$PREFIX/releases/$before/bin/node" "$1/bin/node"
  fi
  touch "$1/.whole"
}

point_to() {
  ln -sfn "releases/$1" "$DESTDIR$PREFIX/.current"
  mv -T "$DESTDIR$PREFIX/.current" "$DESTDIR$PREFIX/current"
}

# Puts together, in a folder aside, all units of this role and mode as that tree has them.
stage_units() { # folder of a release's or the checkout's units
  rm -rf "$stage" && mkdir -p "$stage"
  (cd "$1" && tar -cf - s2-*) | tar -xf - -C "$stage"
  set -- "$1" "in-$MODE"
  [ "$ROLE" = worker ] || set -- "$@" on-orchestrator
  # Where the watcher runs as the user whose agent it wakes.
  if [ $MODE = user ] || { [ "$ROLE" = worker ] && [ -n "$AGENT" ]; }; then set -- "$@" for-agent; fi
  version=$(systemd_version)
  if [ "${version:-0}" -ge 254 ]; then set -- "$@" since-254; fi
  [ -d "$1/../node_modules/unix-dgram/build" ] || set -- "$@" without-unix-dgram
  tree=$1
  shift
  for layer in "$@"; do
    [ ! -d "$tree/$layer" ] || (cd "$tree/$layer" && tar -cf - .) | tar -xf - -C "$stage"
  done
  if [ "$ROLE" = both ]; then stage_second_half; fi
  find "$stage" -type f -exec sed -i "s#@PREFIX@#$PREFIX#g; s#@ETC@#$ETC#g; s#@USER@#$owner#g; s#@GROUP@#$group#g; s#@STATE@#$STATE#g; s#@STATE_NAME@#${STATE#/var/lib/}#g" {} +
  if [ $MODE = user ]; then
    find "$stage" -type f -exec sed -i '/network-online\.target$/d; s/ network\.target$//; /^After=network\.target$/d; s/multi-user\.target/default.target/' {} +
  fi
  case $ROLE in
    orchestrator) rm -rf "$stage"/s2-cred-sync.service* "$stage"/s2-worker.target ;;
    worker) rm -rf "$stage"/s2-bridge.service* "$stage"/s2-watchdog.service* "$stage"/s2-orchestrator.target "$stage"/*.timer "$stage"/s2-backup.* ;;
  esac
  find "$stage" -type f -exec chmod 644 {} +
}

# The worker's half beside an orchestrator's: the same units under other names, and as another user.
stage_second_half() {
  half="s#@USER@#$worker_owner#g; s#@GROUP@#$worker_group#g; s#@STATE@#$worker_state#g; s#@STATE_NAME@#${worker_state#/var/lib/}#g"
  names='s/s2-keepalive/s2-worker-keepalive/g; s/s2-fs-watcher/s2-worker-fs-watcher/g; s/s2-orchestrator\.target //; s/ s2-orchestrator\.target//'
  for name in keepalive fs-watcher; do
    sed "$names; s/^Description=S2 $name/& of the worker/" "$stage/s2-$name.service" >"$stage/s2-worker-$name.service"
    sed -i 's/s2-worker\.target //; s/ s2-worker\.target//' "$stage/s2-$name.service"
  done
  sed -i "$names" "$stage/s2-cred-sync.service"
  mkdir -p "$stage/s2-worker-.service.d" "$stage/s2-cred-sync.service.d" "$stage/s2-worker-fs-watcher.service.d"
  cp "$stage"/s2-fs-watcher.service.d/* "$stage/s2-worker-fs-watcher.service.d/"
  rm -f "$stage/s2-worker-fs-watcher.service.d/25-source.conf"
  # The orchestrator's watcher keeps its locks: the agent is the worker's.
  if [ -n "$AGENT" ]; then cp "$tree"/for-agent/s2-fs-watcher.service.d/* "$stage/s2-worker-fs-watcher.service.d/"; fi
  for folder in s2-worker-.service.d s2-cred-sync.service.d; do
    sed "$half" "$stage/s2-.service.d/15-half.conf" >"$stage/$folder/15-half.conf"
  done
}

# Units come from the release in force, so that the way back brings its own back too. `laid` says what they were when
# they were laid: what somebody has changed since is put aside and never lost.
lay_units() { # release
  stage_units "$DESTDIR$PREFIX/releases/$1/systemd"
  laid="$DESTDIR$PREFIX/laid"
  mkdir -p "$DESTDIR$UNITS"
  if [ -f "$laid" ]; then
    while read -r sum file; do
      at="$DESTDIR$UNITS/$file"
      [ -f "$at" ] || continue
      # One that is as it shall be was laid by an installation that was cut off.
      if [ "$(sha256sum <"$at" | cut -d' ' -f1)" != "$sum" ] && ! cmp -s "$stage/$file" "$at"; then
        cp "$at" "$at.edited"
        say "$at was edited: that is kept in $at.edited; changes belong into a drop-in (systemctl edit), where they stay in force"
      fi
      if [ ! -f "$stage/$file" ]; then
        case $file in
          ./s2-*.service | ./s2-*.target | ./s2-*.timer) ! live || ctl disable --now --quiet "${file#./}" 2>/dev/null || true ;;
        esac
        rm -f "$at"
        rmdir "$(dirname "$at")" 2>/dev/null || true
      fi
    done <"$laid"
  fi
  (cd "$stage" && find . -type f | LC_ALL=C sort) | while read -r file; do
    mkdir -p "$(dirname "$DESTDIR$UNITS/$file")"
    cmp -s "$stage/$file" "$DESTDIR$UNITS/$file" || {
      cp "$stage/$file" "$DESTDIR$UNITS/$file.part"
      mv "$DESTDIR$UNITS/$file.part" "$DESTDIR$UNITS/$file"
    }
  done
  (cd "$stage" && find . -type f | LC_ALL=C sort | xargs sha256sum | sed 's/  / /') >"$laid.part"
  mv "$laid.part" "$laid"
}

# What a running service would have to be restarted for: its bundle (which names its chunks by what is in them), what all
# bundles load beside themselves, and its unit.
print_of() { # service release
  release="$DESTDIR$PREFIX/releases/$2"
  {
    cat "$release/dist/$(program_of "$1").js"
    cat "$release"/dist/migrations/*
    cat "$release/bin/node.sum"
    cat "$release"/node_modules/*/package.json
    cat "$stage/$1.service" "$stage/s2-.service.d"/* "$stage/$1.service.d"/* "$stage/s2-worker-.service.d"/* 2>/dev/null
  } | sha256sum | cut -c1-16
}

lay_settings() {
  mkdir -p "$DESTDIR$ETC"
  chmod 750 "$DESTDIR$ETC"
  [ -e "$DESTDIR$ETC/s2.env" ] || (
    umask 027
    cat >"$DESTDIR$ETC/s2.env" <<'TEXT'
# Settings of all S2 services of this host, NAME=value lines; `s2 config` lists them, `s2 init` asks for the first ones.
# A file <service>.env beside this one wins over it. Services read them when they start.
TEXT
  )
}

# The command speaks for the services, so it runs as their user: what root made in their folder they could not read.
lay_command() { # name user group state settings
  mkdir -p "$DESTDIR$BIN"
  at="$DESTDIR$BIN/$1"
  s2="$PREFIX/current/bin/node $PREFIX/current/dist/s2.js"
  {
    printf '#!/bin/sh\n# s2 for the services of this host: as their user, with their folder and their settings.\n'
    printf 'if [ "${1:-}" = init ]; then shift; exec %s init --folder %s "$@"; fi\n' "$s2" "$ETC"
    printf 'if [ -n "${S2_STATE:-}" ]; then exec %s "$@"; fi\n' "$s2"
    if [ $MODE = system ]; then
      printf 'if [ "$(id -u)" = 0 ]; then HOME=%s exec setpriv --reuid=%s --regid=%s --init-groups %s "$@"; fi\n' "$4" "$2" "$3" "$BIN/$1"
      printf 'if [ "$(id -un)" != %s ]; then exec %s "$@"; fi\n' "$2" "$s2"
    fi
    printf 'export S2_STATE=%s\n' "$4"
    if [ -n "$5" ]; then printf 'if [ -r %s ]; then exec %s "$@"; fi\n' "$5" "$(printf %s "$s2" | sed "s# # --env-file=$5 #")"; fi
    printf 'exec %s "$@"\n' "$s2"
  } >"$at.part"
  chmod 755 "$at.part"
  if cmp -s "$at.part" "$at"; then rm "$at.part"; else mv "$at.part" "$at"; fi
}

lay_commands() {
  lay_command s2 "$owner" "$group" "$STATE" "$ETC/s2.env"
  if [ "$ROLE" = both ]; then lay_command s2-worker "$worker_owner" "$worker_group" "$worker_state" ''; fi
}

make_user() { # name home
  getent passwd "$1" >/dev/null || useradd --system --home-dir "$2" --no-create-home --shell /usr/sbin/nologin --user-group "$1"
}

make_users() {
  if [ "$owner" != "$AGENT" ]; then make_user "$owner" "$STATE"; fi
  if [ "$ROLE" = both ] && [ "$worker_owner" != "$AGENT" ]; then make_user "$worker_owner" "$worker_state"; fi
  chgrp -R "$group" "$ETC"
}

# Restarts what runs and is another now. A version that does not get ready is taken back.
restart_changed() {
  restarted=''
  for service in $services; do
    ctl is-active --quiet "$service" || continue
    [ "$(print_of "$service" "$id")" != "$(cat "$DESTDIR$PREFIX/prints/$service" 2>/dev/null)" ] || continue
    restarted="$restarted $service"
    ctl reset-failed "$service" 2>/dev/null || true # an upgrade is none of the falls that are counted
    if ctl restart "$service"; then continue; fi
    [ -n "$before" ] && [ "$before" != "$id" ] || fail "$service does not start" "$(journal "$service")"
    say "$service does not get ready with the new version: going back to $before"
    point_to "$before"
    lay_units "$before"
    ctl daemon-reload
    ctl reset-failed 's2-*' || true
    for back in $restarted; do ctl restart "$back" || true; done
    fail 'the new version was rolled back; data and settings are as they were' "$(journal "$service")"
  done
}
timers() { (cd "$stage" && ls s2-*.timer 2>/dev/null || true); }
journal() { [ $MODE = user ] && echo "journalctl --user-unit $1" || echo "journalctl -u $1"; }

# Which release a running service was started from: an upgrade that leaves it alone leaves that too.
is_in_use() { # release
  for service in $services; do
    pid=$(ctl show --property=MainPID --value "$service" 2>/dev/null)
    case $(readlink "/proc/${pid:-0}/exe" 2>/dev/null) in */releases/"$1"/*) return 0 ;; esac
  done
  return 1
}

install_all() {
  check_words
  plan
  check_host
  check_place
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  stage_units "$here/systemd"
  check_units
  check_settings
  mkdir -p "$DESTDIR$PREFIX/releases"
  alone
  id=$(release_id)
  before=''
  # The last one that was installed to the end; `current` may be one that was cut off before it was known to work.
  if [ -f "$DESTDIR$PREFIX/installed" ]; then before=$(cat "$DESTDIR$PREFIX/installed"); fi
  lay_release
  lay_units "$id"
  lay_settings
  if [ $MODE = system ] && live; then make_users; fi
  point_to "$id"
  echo "$ROLE" >"$DESTDIR$PREFIX/role"
  if [ -n "$AGENT" ]; then echo "$AGENT" >"$DESTDIR$PREFIX/agent"; fi
  lay_commands
  if live; then
    ctl daemon-reload
    restart_changed
    # A watcher that is not told whom to wake would only fail at every start.
    for service in $services; do
      [ ! -e "$DESTDIR$PREFIX/prints/$service" ] || continue # whether it starts with the machine was decided before
      case $service in *fs-watcher) grep -qs '^ *S2_WAKE=' "$ETC/s2.env" "$ETC/$service.env" || continue ;; esac
      ctl enable --quiet "$service"
    done
    for unit in $targets $(timers); do
      [ -e "$DESTDIR$PREFIX/prints/$unit" ] || case $unit in
        *.timer) ctl enable --now --quiet "$unit" ;;
        *) ctl enable --quiet "$unit" ;;
      esac
    done
  fi
  mkdir -p "$DESTDIR$PREFIX/prints"
  for service in $services; do print_of "$service" "$id" >"$DESTDIR$PREFIX/prints/$service"; done
  for unit in $targets $(timers); do : >"$DESTDIR$PREFIX/prints/$unit"; done
  echo "$id" >"$DESTDIR$PREFIX/installed"
  for old in "$DESTDIR$PREFIX"/releases/*; do
    name=$(basename "$old")
    case $name in "$id" | "$before") ;; *) live && is_in_use "$name" || rm -rf "$old" ;; esac
  done
  if [ "$before" = "$id" ]; then say "version $id is installed already; units and settings are in place"
  elif [ -n "$before" ]; then say "upgraded from $before to $id; data and settings are as they were; restarted:${restarted:- nothing}"
  else say "installed $id for a host that is: $ROLE"
  fi
  if live; then say_next; fi
}

say_next() {
  sudo='sudo ' ctl='systemctl'
  [ $MODE = system ] || sudo='' ctl='systemctl --user'
  case $ROLE in
    worker) say "next: ${sudo}s2 init, which asks for the git remote, the worker's number and the wake command; then: ${sudo}$ctl enable --now s2-cred-sync s2-keepalive s2-fs-watcher" ;;
    both) say "next: ${sudo}s2 init, which asks for the git remote, the worker's number and the wake command, and says what to start" ;;
    orchestrator) say "next: ${sudo}$ctl start s2-watchdog; to wake an agent here, ${sudo}s2 init asks for the command, then: ${sudo}$ctl enable --now s2-fs-watcher" ;;
  esac
  if [ $MODE = user ]; then
    case :$PATH: in *:"$BIN":*) ;; *) say "$BIN is not in your PATH: add it, to call s2 by its name" ;; esac
    [ "$(loginctl show-user "$(id -un)" --property=Linger --value 2>/dev/null)" = yes ] ||
      say "your services end when you log out: loginctl enable-linger $(id -un) keeps them, and starts them with the machine"
  fi
  if is_wsl; then say 'Windows stops WSL when none of its windows is open: s2 init --wsl-task prints a scheduled task that keeps it running'; fi
}

uninstall_all() {
  check_words
  ROLE=${was:-$ROLE}
  plan
  [ -f "$DESTDIR$PREFIX/.s2" ] || fail "S2 is not installed at $DESTDIR$PREFIX" 'name the PREFIX it was installed with'
  ! live || [ $MODE = user ] || [ "$(id -u)" = 0 ] || fail 'removing a system-wide installation wants root' 'use sudo make uninstall'
  alone
  if live && has_systemd; then
    for unit in $(sed -n 's#^[^ ]* \./\(s2-[^/]*\.\(service\|timer\|target\)\)$#\1#p' "$PREFIX/laid" 2>/dev/null); do
      case $unit in *@.*) ;; *) ctl disable --now --quiet "$unit" 2>/dev/null || true ;; esac
    done
  fi
  if [ -f "$DESTDIR$PREFIX/laid" ]; then
    while read -r _ file; do
      rm -f "$DESTDIR$UNITS/$file"
      rmdir "$(dirname "$DESTDIR$UNITS/$file")" 2>/dev/null || true
    done <"$DESTDIR$PREFIX/laid"
  fi
  rm -rf "$DESTDIR$PREFIX" "$DESTDIR$BIN/s2"
  if [ "$ROLE" = both ]; then rm -f "$DESTDIR$BIN/s2-worker"; fi
  if live && has_systemd; then ctl daemon-reload || true; fi
  if [ "${PURGE:-}" != 1 ]; then
    say "removed; settings in $DESTDIR$ETC and data in $DESTDIR$STATE are left (PURGE=1 removes them too)"
    return
  fi
  rm -rf "$DESTDIR$ETC" "$DESTDIR$STATE"
  if [ "$ROLE" = both ]; then rm -rf "$DESTDIR$worker_state"; fi
  if live && [ $MODE = system ]; then
    for name in s2 s2-worker; do if getent passwd $name >/dev/null; then userdel $name || true; fi; done
  fi
  say 'removed, with settings and data'
}

case ${1:---help} in
  install | install-user) install_all ;;
  uninstall | uninstall-user) uninstall_all ;;
  -h | --help) usage ;;
  *) usage >&2; exit 64 ;;
esac
