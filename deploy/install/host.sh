# Checks of the host before an installation: its service manager, its users, and the caller.
# shellcheck shell=sh

systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }
is_wsl() { grep -qi microsoft "$OSRELEASE" 2>/dev/null || [ -n "${WSL_INTEROP:-}" ]; }
is_wsl1() { grep -q 'Microsoft$' "$OSRELEASE" 2>/dev/null; } # WSL 2 says microsoft-standard-WSL2

check_words() {
  for path in "$PREFIX" "$ETC" "$STATE" "$UNITS" "$BIN"; do
    case $path in
      /*[!A-Za-z0-9._/+@-]* | */) fail "the path $path cannot be used" 'use letters, digits, dots, dashes and slashes, but none at the end' 64 ;;
      /*) ;;
      *) fail "the path $path is not absolute" 'begin it with /' 64 ;;
    esac
  done
  case $ROLE in
    orchestrator | worker | both) ;;
    *) fail "ROLE=$ROLE is not known" 'use ROLE=orchestrator, ROLE=worker or ROLE=both' 64 ;;
  esac
  [ -z "$AGENT$AGENT_APART" ] || [ "$ROLE" != orchestrator ] || fail 'AGENT and AGENT_APART are users of a worker' 'use them with ROLE=worker or ROLE=both' 64
  [ -z "$AGENT" ] || [ -z "$AGENT_APART" ] || fail 'AGENT and AGENT_APART exclude each other' 'AGENT runs the services as the user of the agent, AGENT_APART keeps the two apart: give one' 64
  live || [ -z "$AGENT_APART" ] || fail 'AGENT_APART is a user of the host, and DESTDIR is for packages' 'leave it out: make install AGENT_APART=… on the host does it' 64
}

# The users, folders, services and targets of this role.
plan() {
  owner=s2 group=s2
  worker_owner=s2-worker worker_group=s2-worker worker_state=$STATE-worker
  [ $MODE = system ] || owner=$(id -un) group=$(id -gn) worker_owner=$(id -un) worker_group=$(id -gn)
  if [ -n "$AGENT" ]; then
    worker_owner=$AGENT
    worker_group=$(id -gn "$AGENT" 2>/dev/null || echo "$AGENT")
    agent_home=$(getent passwd "$AGENT" | cut -d: -f6)
    agent_home=${agent_home:-/home/$AGENT}
    [ "$ROLE" = worker ] && owner=$worker_owner group=$worker_group
  fi
  states=$STATE
  [ "$ROLE" != both ] || states="$STATE $worker_state"
  case $ROLE in
    orchestrator) services='s2-bridge s2-watchdog s2-cred-sync s2-fs-watcher s2-keepalive' targets=s2-orchestrator.target ;;
    worker) services='s2-keepalive s2-fs-watcher s2-cred-sync' targets=s2-worker.target ;;
    both)
      services='s2-bridge s2-watchdog s2-cred-sync s2-fs-watcher s2-keepalive s2-worker-cred-sync s2-worker-keepalive s2-worker-fs-watcher'
      targets='s2-orchestrator.target s2-worker.target'
      ;;
  esac
}
program_of() { case $1 in s2-worker-*) echo "${1#s2-worker-}" ;; *) echo "${1#s2-}" ;; esac; }

# The users that S2 makes for its services, with their homes.
service_users() {
  [ $MODE = system ] || return 0
  [ "$owner" = "$AGENT" ] || echo "$owner $STATE"
  [ "$ROLE" != both ] || [ "$worker_owner" = "$AGENT" ] || echo "$worker_owner $worker_state"
}

check_host() {
  [ -f "$here/dist/s2.js" ] || fail 'nothing is built here' 'run make install, which builds first'
  case "$was $ROLE" in
    'worker orchestrator' | 'worker both' | 'orchestrator worker' | 'both worker')
      fail "this host is installed as: $was" "its data belong to that: make uninstall$suffix first, and move $STATE away, to make it: $ROLE" ;;
  esac
  live || return 0
  if [ $MODE = system ]; then
    [ "$(id -u)" = 0 ] || fail 'a system-wide installation wants root' 'use sudo make install, or make install-user for yourself alone'
    has_systemd || fail 'systemd does not run on this machine' "$(without_systemd)"
    check_agent
    check_agent_apart
    service_users | while read -r name home; do check_user "$name" "$home"; done
  else
    [ "$(id -u)" != 0 ] || fail 'root has no services of its own' 'run make install-user as the person whose agent it is, or make install for the whole host'
    [ -z "$AGENT$AGENT_APART" ] || fail 'AGENT is for a system-wide installation' 'leave it out: services of your own run as you' 64
    has_systemd || fail 'systemd does not run on this machine' "$(without_systemd)"
    find_manager
    systemctl --user show --property=Version >/dev/null 2>&1 ||
      fail "no service manager of $(id -un) answers" "log in as yourself (su and sudo -u do not start one), or as root: loginctl enable-linger $(id -un) (with the package libpam-systemd)"
  fi
}

# A login by su, or by ssh without PAM, does not set XDG_RUNTIME_DIR, by which the user's service manager is found.
find_manager() {
  if [ $MODE = user ] && [ -z "${XDG_RUNTIME_DIR:-}" ] && [ -d "/run/user/$(id -u)" ]; then
    export XDG_RUNTIME_DIR="/run/user/$(id -u)"
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

check_agent() {
  [ -n "$AGENT" ] || return 0
  getent passwd "$AGENT" >/dev/null || fail "there is no user $AGENT" 'AGENT names the user whose agent is woken' 64
  [ "$(id -u "$AGENT")" != 0 ] || fail 'an agent does not run as root' 'AGENT names an ordinary user' 64
  case $agent_home in
    /*[!A-Za-z0-9._/+@-]* | [!/]* | '') fail "the home of $AGENT cannot be used: $agent_home" 'the services look there for its ssh keys: give that user another home (usermod --home)' ;;
  esac
}

check_user() { # name home
  if found=$(getent passwd "$1"); then
    found=$(echo "$found" | cut -d: -f6)
    case $found in
      "$STATE" | "$STATE-worker") ;;
      *) fail "the user $1 is somebody else (home $found)" "S2's services run as $1: where an S2 with other data made that user, usermod --home $2 $1; where not, rename that user" ;;
    esac
    [ "$(id -gn "$1")" = "$1" ] || fail "the user $1 has the group $(id -gn "$1"), whose other members would read the settings" "give it a group of its own: groupadd --system $1; usermod --gid $1 $1"
    return 0
  fi
  ! getent group "$1" >/dev/null || fail "there is a group $1 and no such user: it is somebody else's" "groupdel $1, or rename that group: S2's services run as a user and a group $1"
  command -v useradd >/dev/null || fail 'useradd is missing' "install it (Debian: apt-get install passwd), or make a system user $1 with a group $1 and the home $2"
  [ -w /etc ] || fail "the user $1 cannot be made: /etc cannot be written" "make a system user $1 with a group $1 and the home $2 by the means of this system"
}
