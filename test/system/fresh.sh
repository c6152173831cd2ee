#!/bin/bash
# The README's commands on machines as they come, each with the packages that the README names and nothing of this checkout but
# its commit: a Debian 12 where apt brings what Debian recommends beside npm, a compiler among it, and a Debian 13 without that.
# A user who may do nothing clones it, runs it and tests it; root installs it into the machine's own systemd; and at last the
# two become the hosts of one fleet. Wants root and the registries. Ends with a line `N passed, N failed`.
#
#   test/system/fresh.sh              both
#   test/system/fresh.sh 13           one of them
#   DEBIAN12=~/12.tar DEBIAN13=~/13.tar …   keeps the machines, with their packages, for the next time
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=test/system/checks.sh
. "$here/test/system/checks.sh"

needs_root 'making machines'
needs systemd-container systemd-nspawn
needs debootstrap debootstrap
needs git git
needs procps pgrep
needs tmux tmux
needs iproute2 ip

declare -A suite=([12]=bookworm [13]=trixie)
packages='npm git make' # as the README has them
# Which tests a machine runs: what it could have of its own. Pure rules, simulations and fuzzing are the same everywhere. What
# deals in files, modes and homes meets odd ones on the Debian 12; on the Debian 13, which has no native module, what hears of
# changes and speaks to a system runs.
declare -A tests=([12]='test/{cli,local}/*.test.ts test/core/{git,spool}/*.test.ts'
  [13]='test/*.test.ts test/{deploy,fs-watcher,keepalive,local}/*.test.ts test/core/{runtime,spool}/*.test.ts')
declare -A recommended=([12]=--install-recommends [13]=--no-install-recommends)
# Where the user puts it: into a folder that others cannot enter, and whose name gyp and make have to be careful with.
declare -A checkout=([12]='/home/ann/my work.d/s2' [13]=/home/ann/s2)
[ $# -gt 0 ] || set -- 12 13
for one in "$@"; do
  [ -n "${suite[$one]:-}" ] || { echo "there is no machine $one: name some of ${!suite[*]}" >&2; exit 64; }
done

end_stories() { # a machine ends with the story that started it
  # shellcheck disable=SC2046 # one pid per story
  kill $(cat "$machines"/*.pid 2>/dev/null) 2>/dev/null
  wait
}
take_folder fresh end_stories
machines=$work
manager='' leader=''

# --- machines ---

lay_machine() { # number: with a Debian's usual packages, and the README's
  local root=$machines/$1 cache
  eval "cache=\${DEBIAN$1:-}"
  mkdir -p "$root"
  if [ -n "$cache" ] && [ -f "$cache" ]; then
    tar -xf "$cache" -C "$root" || return
  else
    make_debian "$root" systemd,systemd-sysv,dbus,libpam-systemd,procps,ca-certificates,iproute2 "${suite[$1]}" || return
    settle_in "$1" || return
    on "$1" root "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ${recommended[$1]} $packages" || return
    [ -z "$cache" ] || tar -cf "$cache" -C "$root" . || return
  fi
  settle_in "$1" || return
  on "$1" root 'id ann || useradd --create-home --shell /bin/bash ann'
}

settle_in() { # number: gives it what this machine knows of its network: names, authorities and npm's settings
  local root=$machines/$1 key value
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  # Debian's installer writes it, debootstrap does not everywhere.
  [ -e "$root/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
  if ls /usr/local/share/ca-certificates/*.crt; then
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    on "$1" root update-ca-certificates || return
  fi
  : >"$root/etc/npmrc"
  for key in registry proxy https-proxy noproxy cafile; do
    value=$(cd / && npm config get "$key" 2>/dev/null)
    case $value in '' | null | undefined | /etc/ssl/certs/ca-certificates.crt) continue ;; esac
    [ "$key" != cafile ] || { cp "$value" "$root/etc/npm-ca.pem" && value=/etc/npm-ca.pem; }
    echo "$key=$value" >>"$root/etc/npmrc"
  done
}

# Runs a shell script in a machine that is not booted; all that it started ends with it.
on() { # number user script [nspawn options…]
  local one=$1 user=$2 script=$3 name
  shift 3
  for name in http_proxy https_proxy no_proxy; do [ -z "${!name:-}" ] || set -- "$@" --setenv="$name=${!name}"; done
  setpriv --pdeathsig KILL systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --pipe --resolv-conf=off --directory="$machines/$one" --user="$user" "$@" \
    /bin/bash -c "$script" </dev/null
}

boot() { # number
  setpriv --pdeathsig KILL systemd-nspawn --quiet --boot --register=no --keep-unit --private-network \
    --directory="$machines/$1" --machine="s2-fresh-$1-$$" </dev/null >"$work/boot.log" 2>&1 &
  manager=$!
  within 60 is_booted
}
is_booted() {
  leader=$(pgrep -P "$manager" | head -n 1)
  [ -n "$leader" ] && inside systemctl is-system-running | grep -Eq 'running|degraded'
}
inside() { nsenter -t "$leader" -a env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }

# --- what the user does ---

lay_sources() { # number: the commit under test, as on a server
  git clone --quiet --bare --no-local "$here" "$machines/$1/srv/s2.git" && chown -R 1000:1000 "$machines/$1/srv/s2.git"
}
clone() {
  on "$1" ann "umask 077; mkdir -p '$(dirname "${checkout[$1]}")' && git clone --quiet /srv/s2.git '${checkout[$1]}'"
}
as_ann() { # number script [nspawn options…]: in the checkout
  local one=$1 script=$2
  shift 2
  on "$one" ann "cd '${checkout[$one]}' && $script" "$@"
}
runs() { # number log [nspawn options…]: `make run` until nine agents live, and Ctrl-C; test/system/fresh/run.sh is ann's hands
  local one=$1 log=$2
  shift 2
  cp "$here/test/system/fresh/run.sh" "$machines/$one/srv/run.sh"
  as_ann "$one" 'bash /srv/run.sh' "$@" >"$work/$log" 2>&1 && return
  tail -n 30 "$work/$log"
  return 1
}
took() { sed -n 's/^nine agents lived after \([0-9.]*\) s$/\1/p' "$work/$1"; } # log
ends_well() { # number log script [nspawn options…]: the last line counts what passed, and nothing failed
  local one=$1 log=$2 script=$3
  shift 3
  as_ann "$one" "$script" "$@" >"$work/$log" 2>&1 && grep -Eq '^[1-9][0-9]* passed, 0 failed$' "$work/$log" && return
  sed -n '/failing tests:$/,$p' "$work/$log" | head -n 80
  grep -aE '^s2: ' "$work/$log" | sort -u | head -n 10
  tail -n 3 "$work/$log"
  return 1
}
make_test() { printf 'make test FILES="$(echo %s)"' "${tests[$1]}"; } # number: the command, for bash
says_nothing_of() { ! grep -E "$1" "$work/$2"; } # words log
says_of() { grep -E "$1" "$work/$2" || { tail -n 30 "$work/$2"; return 1; }; }
native() { # number: names of the native modules that were compiled
  (cd "$machines/$1/${checkout[$1]}/node_modules" && ls -d node-inotify/build/Release unix-dgram/build/Release 2>/dev/null | cut -d/ -f1 | tr '\n' ' ')
}
is_ann_s() { # number: nothing in the checkout is somebody else's
  local strange
  strange=$(find "$machines/$1/${checkout[$1]}" ! -uid 1000)
  [ -z "$strange" ] || { wc -l <<<"$strange"; head -n 5 <<<"$strange"; return 1; }
}

# --- what root does ---

install_it() { inside sh -c "cd '${checkout[$1]}' && make install"; } # number
pid_of() { inside systemctl show -p MainPID --value "$1"; }
is_another() { [ "$(pid_of "$1")" != "$2" ] && inside systemctl is-active --quiet "$1"; } # service pid
hurry() { # the watchdog of systemd waits 6 s for the watchdog of S2
  inside mkdir -p /etc/systemd/system/s2-watchdog.service.d &&
    inside sh -c "printf '[Service]\nWatchdogSec=6\n' >/etc/systemd/system/s2-watchdog.service.d/hurry.conf" &&
    inside systemctl daemon-reload && inside systemctl restart s2-watchdog
}
outlives_it() { # thrice as long as systemd would have waited
  local pid
  pid=$(pid_of s2-watchdog)
  sleep 18 # what shall not happen has no event
  [ "$(pid_of s2-watchdog)" = "$pid" ] || { inside journalctl --no-pager -u s2-watchdog -n 15; return 1; }
}
is_ended_when_it_hangs() {
  local pid
  pid=$(pid_of s2-watchdog)
  inside kill -STOP "$pid"
  within 30 is_another s2-watchdog "$pid"
}

# --- the story ---

story() { # number
  local one=$1
  check 'is made, with what the README names' lay_machine "$one" || return
  check 'a user clones it' eval "lay_sources $one && clone $one" || return
  check 'make run: nine agents live; Ctrl-C ends them all' runs "$one" run || return
  printf '%6s s          from the first make run to nine live agents\n' "$(took run)"
  check 'what is slow says how far it is' says_of 'installing the packages: [0-9]+ s' run
  check 'the second one sets nothing up, and wants no network' eval "runs $one again --private-network && says_nothing_of 's2: (fetching|installing|compiling|set up)' again"
  printf '%6s s          from the second make run to nine live agents\n' "$(took again)"
  if [ "$one" = 12 ]; then
    check 'both native modules are compiled, and load' [ "$(native "$one")" = 'node-inotify unix-dgram ' ]
    check 'make test, with umask 077 and without HOME' ends_well "$one" test "umask 077; env -u HOME $(make_test 12)" --private-network
  else
    check 'no native module is there, and set-up says what that means' eval "[ -z '$(native "$one")' ] && says_of 'no compiler' run"
    check 'make test' ends_well "$one" test "$(make_test 13)" --private-network
    check 'tests that want a native module say that they were skipped' says_of 'was not compiled here' test
  fi
  check 'make rehearse, by day' as_ann "$one" 'make rehearse ONLY=day' --private-network
  check 'boots its own systemd' boot "$one" || return
  check 'root installs it out of the checkout of the user' install_it "$one" &&
    check 'and leaves every file there the user'"'"'s' is_ann_s "$one"
  check 'systemctl start s2-watchdog' inside systemctl start s2-watchdog &&
    check 's2 status' within 15 says '^0 agents, 0 alive' inside s2 status
  if [ "$one" = 13 ]; then
    check 'the release has no half of a module' [ "$(inside ls /opt/s2/current/node_modules)" = better-sqlite3 ]
    check 'it says how systemd is told' says 'notified by systemd-notify' inside journalctl --no-pager -u s2-bridge
    check 'a watchdog of 6 s is fed by systemd-notify' eval 'hurry && outlives_it'
    check 'and ends what hangs' is_ended_when_it_hangs
  fi
  end_machine "$manager" "$leader"
}

# The stories share nothing, so they are told at once.
for one in "$@"; do
  (
    echo "$BASHPID" >"$machines/$one.pid"
    mkdir "$machines/$one.own" && work=$machines/$one.own
    trap 'echo "$passed $failed" >"$machines/$one.count"' EXIT
    chapter "with $packages and apt ${recommended[$one]}"
    story "$one"
  ) 2>&1 | sed -u "s/^/Debian $one /" &
done
wait
rm "$machines"/*.pid
for one in "$@"; do
  if read -r p f <"$machines/$one.count"; then passed=$((passed + p)) failed=$((failed + f)); else failed=$((failed + 1)); fi
done

# Both machines lie in $machines/12 and $machines/13, installed and not booted: what wants a second host is told with them.
if [ $# -eq 2 ] && [ "$failed" -eq 0 ]; then
  # shellcheck source=test/system/fresh/hosts.sh
  . "$here/test/system/fresh/hosts.sh"
fi

sum_up
