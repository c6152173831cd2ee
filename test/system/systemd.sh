#!/bin/bash
# Installs S2 into a real systemd, in a container of its own without a network, and breaks it there. Wants root, a built
# checkout, and the Debian packages systemd-container and debootstrap. Ends with a line `N passed, N failed`.
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
node=$(. "$here/deploy/env.sh" 2>/dev/null && command -v node)
work=$(mktemp -d /tmp/s2-system.XXXXXX)
root=$work/root
machine=s2-$$
passed=0
failed=0
leader=''

finish() {
  [ -n "${nspawn:-}" ] && kill "$nspawn" 2>/dev/null && wait "$nspawn" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

inside() { nsenter -t "$leader" -a env -i PATH="/node:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root "$@"; }
seconds() { awk -v from="$1" 'BEGIN { "date +%s.%N" | getline now; printf "%.1f", now - from }'; }
check() { # name command...
  local name=$1 began
  began=$(date +%s.%N)
  shift
  if "$@" >"$work/out" 2>&1; then
    passed=$((passed + 1))
    printf '%6s s  ok      %s\n' "$(seconds "$began")" "$name"
  else
    failed=$((failed + 1))
    printf '%6s s  FAILED  %s\n' "$(seconds "$began")" "$name"
    sed 's/^/           /' "$work/out" | tail -n 15
  fi
}
within() { # seconds command...: the command comes true in time
  local end=$(($(date +%s) + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.1
  done
}

boot() {
  systemd-nspawn --quiet --boot --register=no --keep-unit --private-network -D "$root" --machine="$machine" \
    --bind-ro="$here:/src" --bind-ro="$(dirname "$node"):/node" </dev/null >"$work/boot.log" 2>&1 &
  nspawn=$!
  within 60 is_booted
}
is_booted() {
  leader=$(pgrep -P "$nspawn" | head -n 1)
  [ -n "$leader" ] && inside systemctl is-system-running | grep -Eq 'running|degraded'
}
install_from() { inside sh -c "cd '$1' && ${2:-} sh deploy/install.sh install"; }
pid_of() { inside systemctl show -p MainPID --value "s2-$1"; }
is_another() {
  local now
  now=$(pid_of "$1")
  [ "$now" != 0 ] && [ "$now" != "$2" ] && inside systemctl is-active --quiet "s2-$1"
}
refuses() { # words command...: it fails, and says these words
  local words=$1
  shift
  ! "$@" >"$work/said" 2>&1 && grep -q "$words" "$work/said"
}
status_says() { inside s2 status | grep -q "$1"; }
exposure_at_most() { inside systemd-analyze security --no-pager "s2-$1" | tail -n 1 | tee "$work/exposure" | awk -v most="$2" '{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9.]+$/ && $i <= most) found = 1 } END { exit !found }'; }

[ "$(id -u)" = 0 ] || { echo 'skipped: booting a systemd of its own wants root'; echo '0 passed, 0 failed'; exit 0; }
for tool in systemd-nspawn debootstrap; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install systemd-container debootstrap"; echo '0 passed, 1 failed'; exit 1; }
done

echo 'a Debian 12 with a systemd of its own'
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null)
[ -n "$mirror" ] || mirror=$(awk '/^deb / { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' /etc/apt/sources.list)
check 'is made' debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps bookworm "$root" "$mirror"
check 'boots' boot

echo; echo 'what is wrong is said, and changes nothing'
check 'a ROLE that is none' refuses 'ROLE=boss is not known' install_from /src ROLE=boss
check 'a prefix that belongs to others' refuses 'holds something that is not S2' install_from /src PREFIX=/usr
check 'a prefix that cannot be written' refuses 'cannot be written' install_from /src PREFIX=/proc/s2
check 'nothing was installed' test ! -e "$root/etc/s2"

echo; echo 'install and start'
check 'make install lays everything' install_from /src
check 'again changes nothing' install_from /src
check 'the units verify clean' inside sh -c 'systemd-analyze verify /etc/systemd/system/s2-*.service /etc/systemd/system/s2-*.target 2>&1 | tee /dev/stderr | { ! grep -q .; }'
check 'systemctl start s2-watchdog brings the bridge too' inside systemctl start s2-watchdog
check 'both are ready' inside systemctl is-active s2-bridge s2-watchdog
check 'the service manager knows what the watchdog does' inside sh -c 'systemctl show -p StatusText s2-watchdog | grep agents'
check 'a conversation is opened' inside s2 conversation create --role-a orchestrator --role-b tests --number 1 --out /var/lib/s2/out
check 'keepalive starts' inside systemctl start s2-keepalive
check 'and the orchestrator is alive' within 10 status_says 'orchestrator.*alive'
check 'nobody else reads the state' inside sh -c 'test -z "$(find /var/lib/s2 -perm /007 ! -type l | head)"'
for service in bridge watchdog keepalive cred-sync; do check "exposure of s2-$service is 1.5 or less" exposure_at_most "$service" 1.5; done
check 'exposure of s2-fs-watcher is 1.0 or less' exposure_at_most fs-watcher 1.0

echo; echo 'what dies comes back'
for service in bridge watchdog keepalive; do
  old=$(pid_of "$service")
  inside kill -9 "$old"
  check "s2-$service is back within 3 s of kill -9" within 3 is_another "$service" "$old"
done
check 'the fleet is whole again' within 10 status_says 'orchestrator.*alive'
old=$(pid_of watchdog)
inside kill -STOP "$old"
check 's2-watchdog that stands still is ended and back within 40 s' within 40 is_another watchdog "$old"

echo; echo 'wrong settings are not repeated for ever'
inside systemctl start s2-cred-sync >/dev/null 2>&1
check 's2-cred-sync says what it lacks' inside sh -c 'journalctl -u s2-cred-sync | grep S2_GIT_REMOTE'
check 'and waits for a human' inside systemctl is-failed s2-cred-sync

echo; echo 'upgrades'
mkdir -p "$root/srv/next/node_modules"
cp -R "$here"/{dist,deploy,systemd,package.json,package-lock.json,README.md,LICENSE} "$root/srv/next/"
for module in better-sqlite3 node-inotify unix-dgram bindings file-uri-to-path; do cp -R "$here/node_modules/$module" "$root/srv/next/node_modules/"; done
before=$(readlink "$root/opt/s2/current")
sed -i '1s/^/throw new Error("broken")\n/' "$root/srv/next/dist/watchdog.js"
check 'a version that does not get ready is rolled back' refuses 'rolled back' install_from /srv/next
check 'the old version is in force' test "$(readlink "$root/opt/s2/current")" = "$before"
check 'and everything runs' inside systemctl is-active s2-bridge s2-watchdog s2-keepalive
cp "$here/dist/watchdog.js" "$root/srv/next/dist/watchdog.js"
printf '\n' >>"$root/srv/next/README.md"
printf '\n// next\n' >>"$root/srv/next/dist/watchdog.js"
check 'a good one is taken' install_from /srv/next
check 'and is in force' test "$(readlink "$root/opt/s2/current")" != "$before"
check 'with the data kept' within 10 status_says 's2-worker-1'

echo; echo 'reboot and uninstall'
kill "$nspawn"; wait "$nspawn" 2>/dev/null
check 'the machine boots again' boot
check 'everything is back by itself' within 20 inside systemctl is-active s2-bridge s2-watchdog s2-keepalive
check 'with the conversation it had' within 10 status_says 's2-worker-1'
check 'uninstall leaves the data' inside sh -c 'cd /srv/next && sh deploy/install.sh uninstall && test -e /var/lib/s2/bridge.db && ! test -e /opt/s2'
check 'and no unit' inside sh -c '! ls /etc/systemd/system/s2-* 2>/dev/null'
check 'a new installation finds it' install_from /src
check 'PURGE=1 removes that too' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && ! test -e /var/lib/s2 && ! test -e /etc/s2'

echo; echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
