#!/bin/bash
# Installs S2 into a real systemd, in a container of its own without a network, and breaks it there. The story is told in
# parts/, one after the other: each begins where the one before it ended. Wants root and a built checkout. Ends
# with a line `N passed, N failed`.
#
#   test/system/systemd.sh              everything
#   test/system/systemd.sh 10 20 40     some parts only (10 and 20, which install and start, are what others stand on)
#   DEBIAN=~/debian.tar …               keeps the Debian that was fetched, for the next time
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=test/system/checks.sh
. "$here/test/system/checks.sh"

needs_root 'booting a systemd of its own'
needs systemd-container systemd-nspawn
needs debootstrap debootstrap
node=$(cd "$here" && . ./deploy/env.sh >/dev/null && command -v node)

take_folder systemd stop_machine
root=$work/root
leader=''
nspawn=''

boot() { # a machine that ends with this script, also where that cannot end it any more
  setpriv --pdeathsig KILL systemd-nspawn --quiet --boot --register=no --keep-unit --private-network \
    --directory="$root" --machine="s2-$$" --bind-ro="$here:/src" --bind-ro="$(dirname "$node"):/node" \
    </dev/null >"$work/boot.log" 2>&1 &
  nspawn=$!
  within 60 is_booted
}
is_booted() {
  leader=$(pgrep -P "$nspawn" | head -n 1)
  [ -n "$leader" ] && inside systemctl is-system-running | grep -Eq 'running|degraded'
}
stop_machine() { # as by a button: the services are told to stop
  [ -n "$nspawn" ] || return 0
  end_machine "$nspawn" "$leader"
  nspawn=''
}

inside() { nsenter -t "$leader" -a env -i PATH="/node:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root "$@"; }
install_from() { inside sh -c "cd '$1' && ${2:-} sh deploy/install.sh install"; } # checkout [settings]
pid_of() { inside systemctl show -p MainPID --value "s2-$1"; }
is_another() { # service pid: the service runs, as another process than that
  local now
  now=$(pid_of "$1")
  [ "$now" != 0 ] && [ "$now" != "$2" ] && inside systemctl is-active --quiet "s2-$1"
}
none_of() { # pattern…: names what is there all the same
  local left
  left=$(inside sh -c "find $* 2>/dev/null; true") || return
  [ -z "$left" ] || { echo "$left"; return 1; }
}
status_says() { inside s2 status | grep -q "$1"; }

# A second checkout, to upgrade from: what is built, and nothing else. It is at /srv/next inside.
make_next() {
  local module
  rm -rf "$root/srv/next"
  mkdir -p "$root/srv/next/node_modules"
  cp -R "$here"/{dist,deploy,systemd,package.json,package-lock.json,docs,examples,LICENSE} "$here"/*.md "$root/srv/next/"
  # somebody has tried an example there, and it holds the credentials of that fleet
  mkdir -p "$root/srv/next/examples/first-fleet/.s2/credentials"
  echo sample >"$root/srv/next/examples/first-fleet/.s2/credentials/sample.json"
  for module in better-sqlite3 node-inotify unix-dgram bindings file-uri-to-path; do
    cp -R "$here/node_modules/$module" "$root/srv/next/node_modules/"
  done
}

# What the services speak to: an ssh server, polkit, which lets a user start units, and the bus of a user.
add_servers() {
  [ -x "$root/usr/sbin/sshd" ] && [ -x "$root/usr/lib/polkit-1/polkitd" ] && [ -e "$root/usr/lib/systemd/user/dbus.socket" ] ||
    chroot "$root" sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssh-server openssh-client polkitd dbus-user-session'
}

chapter 'a Debian 12 with a systemd of its own'
lay_debian() {
  mkdir -p "$root"
  if [ -n "${DEBIAN:-}" ] && [ -f "$DEBIAN" ]; then tar -xf "$DEBIAN" -C "$root" && add_servers; return; fi
  make_debian "$root" systemd,systemd-sysv,dbus,libpam-systemd,procps,git || return
  add_servers || return
  if [ -n "${DEBIAN:-}" ]; then tar -cf "$DEBIAN" -C "$root" .; fi
}
must 'is made' lay_debian
must 'boots' boot

for part in "$here"/test/system/parts/*.sh; do
  number=$(basename "$part")
  number=${number%%-*}
  case " ${*:-$number} " in *" $number "*) ;; *) continue ;; esac
  # shellcheck source=/dev/null
  . "$part"
done

sum_up
