#!/bin/sh
# Installs S2 on this host, upgrades it in place, or removes it. `make install` calls it; run `deploy/install.sh --help`.
#
# Every version lies whole in a folder of its own under PREFIX/releases, with its own Node, and `current` is a link to the
# one in force: an upgrade is one rename of that link, and so is the way back.
set -eu

usage() {
  cat <<'TXT'
usage: deploy/install.sh install|uninstall        (from a built checkout; make does both steps)

  ROLE=orchestrator|worker|both   what this host is (default: what was installed here before, else orchestrator)
  PREFIX=/opt/s2                  where the programs go
  ETC=/etc/s2                     where the settings go; they are made once and never overwritten
  STATE=/var/lib/s2               what uninstall removes with PURGE=1
  DESTDIR=                        install below this folder, for packages: nothing is started, no user is made
  PURGE=1                         uninstall: settings and data too
TXT
}

say() { printf 's2 install: %s\n' "$*"; }
fail() { printf 's2 install: %s\n  next: %s\n' "$1" "$2" >&2; exit "${3:-1}"; }

here=$(cd "$(dirname "$0")/.." && pwd)
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/opt/s2}
ETC=${ETC:-/etc/s2}
STATE=${STATE:-/var/lib/s2}
UNITS=${UNITS:-/etc/systemd/system}
ROLE=${ROLE:-}
SERVICES='bridge watchdog fs-watcher keepalive cred-sync'

check_words() {
  for path in "$PREFIX" "$ETC" "$STATE" "$UNITS"; do
    case $path in
      /*[!A-Za-z0-9._/-]* | /) fail "the path $path cannot be used" 'use letters, digits, dots, dashes and slashes' 64 ;;
      /*) ;;
      *) fail "the path $path is not absolute" 'begin it with /' 64 ;;
    esac
  done
  if [ -z "$ROLE" ] && [ -f "$DESTDIR$PREFIX/role" ]; then ROLE=$(cat "$DESTDIR$PREFIX/role"); fi
  ROLE=${ROLE:-orchestrator}
  case $ROLE in
    orchestrator | worker | both) ;;
    *) fail "ROLE=$ROLE is not known" 'use ROLE=orchestrator, ROLE=worker or ROLE=both' 64 ;;
  esac
}

live() { [ -z "$DESTDIR" ]; }
has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

# Everything that can go wrong is asked before anything is changed.
check_place() {
  [ -f "$here/dist/s2.js" ] || fail 'nothing is built here' 'run make install, which builds first'
  if live; then
    [ "$(id -u)" = 0 ] || fail 'a system-wide installation wants root' 'use sudo make install, or make install-user for yourself alone'
    has_systemd || fail 'systemd does not run on this machine' "$(without_systemd)"
  fi
  if [ -e "$DESTDIR$PREFIX" ] && [ ! -f "$DESTDIR$PREFIX/.s2" ] && [ -n "$(ls -A "$DESTDIR$PREFIX" 2>/dev/null)" ]; then
    fail "$DESTDIR$PREFIX holds something that is not S2" 'choose another PREFIX, or move that away'
  fi
  mkdir -p "$DESTDIR$PREFIX" 2>/dev/null && [ -w "$DESTDIR$PREFIX" ] || fail "$DESTDIR$PREFIX cannot be written" 'choose a PREFIX on a writable file system'
  free=$(df -Pk "$DESTDIR$PREFIX" | awk 'NR == 2 { print $4 }')
  [ "$free" -gt 400000 ] || fail "only ${free} kB are free at $DESTDIR$PREFIX; 400 MB are wanted" 'make room, or choose another PREFIX'
}

without_systemd() {
  if grep -qi microsoft /proc/sys/kernel/osrelease 2>/dev/null; then
    printf 'put the two lines "[boot]" and "systemd=true" into /etc/wsl.conf, run wsl --shutdown in Windows, and try again; or run s2 up under any supervisor'
  else
    printf 'run s2 up FLEET.json under the supervisor you have'
  fi
}

# A release is named after what is in it, so that installing the same again changes nothing.
release_id() {
  (cd "$here" && { cat package.json package-lock.json; find dist systemd -type f ! -name '.*' | LC_ALL=C sort | xargs cat; node --version; } | sha256sum | cut -c1-12)
}

lay_release() {
  release="$DESTDIR$PREFIX/releases/$id"
  [ -f "$release/.whole" ] && return
  rm -rf "$release.part"
  "$here/deploy/release.sh" "$release.part"
  cp -R "$here/systemd" "$release.part/systemd"
  chmod -R go=u-w "$release.part/systemd"
  touch "$release.part/.whole"
  rm -rf "$release"
  mv "$release.part" "$release"
}

point_to() {
  ln -sfn "releases/$1" "$DESTDIR$PREFIX/.current"
  mv -T "$DESTDIR$PREFIX/.current" "$DESTDIR$PREFIX/current"
}

# Units come from the release in force, so that the way back brings its own back too.
lay_units() {
  units="$DESTDIR$PREFIX/releases/$1/systemd"
  mkdir -p "$DESTDIR$UNITS/s2-.service.d"
  for file in $(cd "$units" && find . -type f); do
    sed "s#@PREFIX@#$PREFIX#g; s#@ETC@#$ETC#g" "$units/$file" >"$DESTDIR$UNITS/$file.part"
    chmod 644 "$DESTDIR$UNITS/$file.part"
    if cmp -s "$DESTDIR$UNITS/$file.part" "$DESTDIR$UNITS/$file"; then rm "$DESTDIR$UNITS/$file.part"; else mv "$DESTDIR$UNITS/$file.part" "$DESTDIR$UNITS/$file"; fi
  done
}

lay_settings() {
  mkdir -p "$DESTDIR$ETC"
  chmod 750 "$DESTDIR$ETC"
  settings="$DESTDIR$ETC/s2.env"
  [ -e "$settings" ] && return
  umask 027
  cat >"$settings" <<TXT
# Settings of all S2 services of this host; \`s2 config\` lists them. A file <unit>.env beside this one wins over it.
TXT
  case $ROLE in
    orchestrator) echo 'S2_SOURCE=database' >"$DESTDIR$ETC/s2-fs-watcher.env" ;;
  esac
  umask 022
}

# The command speaks for the services, so it runs as their user: what root made in their folder they could not read.
lay_command() {
  mkdir -p "$DESTDIR/usr/local/bin"
  cat >"$DESTDIR/usr/local/bin/s2.part" <<TXT
#!/bin/sh
if [ "\$(id -u)" = 0 ] && [ -z "\${S2_STATE:-}" ]; then
  S2_STATE=$STATE exec setpriv --reuid=s2 --regid=s2 --init-groups $PREFIX/current/bin/node $PREFIX/current/dist/s2.js "\$@"
fi
exec $PREFIX/current/bin/node $PREFIX/current/dist/s2.js "\$@"
TXT
  chmod 755 "$DESTDIR/usr/local/bin/s2.part"
  mv "$DESTDIR/usr/local/bin/s2.part" "$DESTDIR/usr/local/bin/s2"
}

make_user() {
  getent passwd s2 >/dev/null || useradd --system --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin --user-group s2
  chgrp -R s2 "$ETC"
}

targets() {
  case $ROLE in
    both) echo s2-orchestrator.target s2-worker.target ;;
    *) echo "s2-$ROLE.target" ;;
  esac
}

services_of_role() {
  case $ROLE in
    orchestrator) echo bridge watchdog fs-watcher keepalive ;;
    worker) echo keepalive fs-watcher cred-sync ;;
    both) echo bridge watchdog fs-watcher keepalive cred-sync ;;
  esac
}

# Restarts what runs. A version that does not get ready is taken back.
restart_running() {
  for service in $SERVICES; do
    systemctl is-active --quiet "s2-$service" || continue
    if ! systemctl restart "s2-$service"; then
      [ -n "$before" ] && [ "$before" != "$id" ] || fail "s2-$service does not start" "journalctl -u s2-$service"
      say "s2-$service does not get ready with the new version: going back to $before"
      point_to "$before"
      lay_units "$before"
      systemctl daemon-reload
      systemctl reset-failed "s2-*" || true
      for back in $(services_of_role); do systemctl try-restart "s2-$back" || true; done
      systemctl start "s2-$service" || true
      fail 'the new version was rolled back; data and settings are as they were' "journalctl -u s2-$service"
    fi
  done
}

install_all() {
  check_words
  check_place
  id=$(release_id)
  before=''
  [ -L "$DESTDIR$PREFIX/current" ] && before=$(basename "$(readlink "$DESTDIR$PREFIX/current")")
  : >"$DESTDIR$PREFIX/.s2"
  lay_release
  lay_units "$id"
  lay_settings
  live && make_user
  point_to "$id"
  echo "$ROLE" >"$DESTDIR$PREFIX/role"
  lay_command
  if live; then
    systemctl daemon-reload
    [ "$before" = "$id" ] || restart_running
    # A watcher that is not told whom to wake would only fail at every start.
    for service in $(services_of_role); do
      if [ "$service" = fs-watcher ] && ! grep -qs '^S2_WAKE=' "$ETC/s2.env" "$ETC/s2-fs-watcher.env"; then continue; fi
      systemctl enable --quiet "s2-$service"
    done
    # shellcheck disable=SC2046 # targets are words
    systemctl enable --quiet $(targets)
  fi
  for old in "$DESTDIR$PREFIX"/releases/*; do
    case $(basename "$old") in "$id" | "$before") ;; *) rm -rf "$old" ;; esac
  done
  if [ "$before" = "$id" ]; then say "version $id is installed already; units and settings are in place"
  elif [ -n "$before" ]; then say "upgraded from $before to $id; data and settings are as they were"
  else say "installed $id for a host that is: $ROLE"
  fi
  if live; then case $ROLE in
    worker) say "next: write S2_GIT_REMOTE, S2_WORKER and S2_WAKE into $ETC/s2.env, then: systemctl enable --now s2-fs-watcher s2-cred-sync s2-keepalive" ;;
    *) say "next: systemctl start s2-watchdog; to wake an agent here, write S2_WAKE into $ETC/s2-fs-watcher.env, then: systemctl enable --now s2-fs-watcher" ;;
  esac; fi
}

uninstall_all() {
  check_words
  [ -f "$DESTDIR$PREFIX/.s2" ] || fail "S2 is not installed at $DESTDIR$PREFIX" 'name the PREFIX it was installed with'
  if live; then
    [ "$(id -u)" = 0 ] || fail 'removing a system-wide installation wants root' 'use sudo make uninstall'
    if has_systemd; then
      for service in $SERVICES; do systemctl disable --now --quiet "s2-$service" 2>/dev/null || true; done
      systemctl disable --quiet s2-orchestrator.target s2-worker.target 2>/dev/null || true
    fi
  fi
  (cd "$here/systemd" && find . -type f) | while read -r file; do rm -f "$DESTDIR$UNITS/$file"; done
  rmdir "$DESTDIR$UNITS/s2-.service.d" 2>/dev/null || true
  rm -rf "$DESTDIR$PREFIX" "$DESTDIR/usr/local/bin/s2"
  live && has_systemd && systemctl daemon-reload
  if [ "${PURGE:-}" = 1 ]; then
    rm -rf "$DESTDIR$ETC" "$DESTDIR$STATE"
    if live && getent passwd s2 >/dev/null; then userdel s2 || true; fi
    say 'removed, with settings and data'
  else
    say "removed; settings in $ETC and data in $STATE are left (PURGE=1 removes them too)"
  fi
}

case ${1:---help} in
  install) install_all ;;
  uninstall) uninstall_all ;;
  -h | --help) usage ;;
  *) usage >&2; exit 64 ;;
esac
