#!/bin/sh
# Installs S2 on this host, upgrades it in place, or removes it. `make install` calls it; run `deploy/install.sh --help`.
#
# Every version lies whole in a folder of its own under PREFIX/releases, with its own Node, and `current` is a link to the
# one in force: an upgrade is one rename of that link, and so is the way back. A host has one half, or with ROLE=both two
# that share nothing: the orchestrator's, and a worker's with units, a user and a folder of its own.
#
# Everything that can go wrong is asked before anything is changed; what is changed is changed in an order in which an
# installation that is cut off anywhere is mended by the next one.
set -eu

usage() {
  cat <<'TEXT'
usage: deploy/install.sh install|uninstall             for the whole host, as root
       deploy/install.sh install-user|uninstall-user   for yourself, without root (systemd --user)
       (from a built checkout; make does both steps)

  ROLE=orchestrator|worker|both   what this host is (default: orchestrator)
  AGENT=name                      whole host: the worker's services run as this user, whose agent they wake
  AGENT_APART=name                whole host: the worker's agent is this user, who shares its mail with the services and is shut
                                  out of the rest; AGENT_APART=none takes that back
  PREFIX=/opt/s2                  where the programs go                     (~/.local/opt/s2)
  ETC=/etc/s2                     where the settings go; never overwritten  (~/.config/s2)
  STATE=/var/lib/s2               where the data go; may be a link          (~/.local/state/s2)
  UNITS=, BIN=                    where units and the command go            (~/.local/share/systemd/user, ~/.local/bin)
  DESTDIR=                        install below this folder, for packages: nothing is started, no user is made
  PURGE=1                         uninstall: settings and data too

An installation remembers all of these: an upgrade and a removal need none of them.
TEXT
}

say() { printf 's2 install: %s\n' "$*"; }
fail() { # what next [exit code]
  printf 's2 install: %s\n  next: %s\n' "$1" "$2" >&2
  [ -z "${work:-}" ] || : >"$work/told" # also where a pipe ends with it
  exit "${3:-1}"
}

here=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in *-user) MODE=user suffix=-user ;; *) MODE=system suffix='' ;; esac # as make names its rules
DESTDIR=${DESTDIR:-}
# Tests put other files in their place, to be on WSL where they are not.
OSRELEASE=${OSRELEASE:-/proc/sys/kernel/osrelease}
SYSTEMD=${SYSTEMD:-/run/systemd/system}

ctl() { if [ $MODE = user ]; then systemctl --user "$@"; else systemctl "$@"; fi; }
live() { [ -z "$DESTDIR" ]; }
for_host() { [ $MODE = system ] && live; }
has_systemd() { [ -d "$SYSTEMD" ] && command -v systemctl >/dev/null; }

for part in record host store places units release folders agent-apart command running; do
  # shellcheck source=/dev/null
  . "$here/deploy/install/$part.sh"
done

install_all() {
  work=$(mktemp -d)
  stage=$work/units
  doing=asking
  trap 'end_with $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  set_defaults
  find_installation
  remember
  check_words
  plan
  check_others
  check_host
  check_places
  check_commands
  # The last one that was installed to the end; `current` may be one that was cut off before it was known to work.
  before=''
  if [ -f "$at/.s2" ]; then before=$(recorded "$at" RELEASE); fi
  find_store
  stage_units "$here/systemd"
  check_units
  check_settings
  check_store
  mkdir -p "$at"
  alone
  mkdir -p "$at/releases"
  doing=copying
  id=$(release_id)
  lay_release
  if for_host; then make_users; fi
  doing=changing
  write_record "$before"
  if for_host; then for state in $states; do make_state "$state"; done; fi
  lay_agent_apart
  lay_settings
  lift_older_units
  lay_units "$id"
  point_to "$id"
  if live; then
    ctl daemon-reload
    sweep_links
    restart_changed
    enable_new
  fi
  lay_commands # not before: a version that is rolled back leaves the command of the one before
  note_laid
  write_record "$id"
  doing=tidying
  rm -rf "$at/role" "$at/agent" "$at/installed" "$at/prints" # of older installers
  take_old_releases
  if [ "$before" = "$id" ]; then say "version $id is installed already; units and settings are in place"
  elif [ -n "$before" ]; then say "upgraded from $before to $id; data and settings are as they were; restarted:${restarted:- nothing}"
  else say "installed $id for a host that is: $ROLE"
  fi
  if live; then say_next; else say_for_package; fi
}

# Whatever ends it, it is said how things stand.
end_with() { # exit code
  if [ "$1" != 0 ]; then
    [ $doing != copying ] || leave_no_trace
    [ -e "$work/told" ] || case $doing in
      changing)
        printf 's2 install: the installation stopped half-way; what said why stands above\n' >&2
        printf '  next: mend that and run it again, which goes on where this stopped; make uninstall%s takes back what there is\n' "$suffix" >&2
        ;;
      tidying) printf 's2 install: the new version is in force; what was left over could not be removed: what said why stands above\n' >&2 ;;
      *) printf 's2 install: stopped; what said why stands above, and what is installed is as it was\n  next: mend that and run it again\n' >&2 ;;
    esac
  fi
  rm -rf "$work"
}

say_next() {
  sudo='sudo ' start='systemctl'
  [ $MODE = system ] || sudo='' start='systemctl --user'
  [ -n "$before" ] || say "next: ${sudo}s2 init, which asks what this host needs, starts the services and says what is left to do (instead, by hand: write $ETC/s2.env, then ${sudo}$start enable --now$(by_hand))"
  if [ $MODE = user ]; then
    case :$PATH: in *:"$BIN":*) ;; *) say "$BIN is not in your PATH: add it, to call s2 by its name" ;; esac
    [ "$(loginctl show-user "$(id -un)" --property=Linger --value 2>/dev/null)" = yes ] ||
      say "your services end when you log out: loginctl enable-linger $(id -un) keeps them, and starts them with the machine"
  fi
  if is_wsl; then say 'Windows stops WSL when none of its windows is open: s2 init --wsl-task prints a scheduled task that keeps it running'; fi
}

# The watcher is not among them: it wants a wake command first.
by_hand() { for service in $services; do case $service in *fs-watcher) ;; *) printf ' %s' "$service" ;; esac; done; }

say_for_package() {
  [ $MODE = system ] || return 0
  service_users | while read -r name home; do
    say "the package has to make, when it is installed: a system user and group $name with the home $home"
  done
  for state in $states; do
    say "the package has to make, when it is installed: the folder $state of $(owner_of "$state"):$(group_of "$state"), mode 0750"
  done
}

uninstall_all() {
  set_defaults
  find_installation
  at=$DESTDIR$PREFIX
  [ -f "$at/.s2" ] || fail "S2 is not installed at $at" 'name the PREFIX it was installed with'
  remember
  ROLE=${was:-$ROLE}
  check_words
  plan
  ! live || [ $MODE = user ] || [ "$(id -u)" = 0 ] || fail 'removing a system-wide installation wants root' 'use sudo make uninstall'
  find_manager
  alone
  purge='' kept=''
  # One that was cut off before it wrote anything down has laid no settings and no data.
  if [ "${PURGE:-}" = 1 ] && { [ -f "$at/installation" ] || [ -e "$at/current" ]; }; then
    for path in "$ETC" $states; do
      other=$(other_with "$path" PREFIX ETC STATE STATE-worker)
      why=$(why_not_ours "$path")
      [ -z "$other" ] || why="the installation in $other has it too"
      if [ -z "$why" ]; then purge="$purge $path"; else kept="$kept $path" && say "$path stays: $why"; fi
    done
    for path in $purge; do say "removing $(named "$path") with all that is in it"; done
  fi
  if live && has_systemd; then stop_units; fi
  take_units
  take_command s2
  take_command s2-worker
  remove_folder "$at"
  forget_record
  if live; then
    sweep_links
    if has_systemd; then ctl daemon-reload || true; fi
  fi
  if [ "${PURGE:-}" != 1 ]; then
    data=''
    for path in $states; do data="$data $(named "$path")"; done
    say "removed; settings in $DESTDIR$ETC and data in$data are left (PURGE=1 removes them too)"
    [ "$ETC $STATE" = "$default_ETC $default_STATE" ] || say "to find them again: make install$suffix ETC=$ETC STATE=$STATE"
    return
  fi
  for path in $purge; do remove_folder "$DESTDIR$path"; done
  remove_users
  remove_agent_group
  say "removed${purge:+, with settings and data}${kept:+, but not$kept}"
}

case ${1:---help} in
  install | install-user) install_all ;;
  uninstall | uninstall-user) uninstall_all ;;
  -h | --help) usage ;;
  *) usage >&2; exit 64 ;;
esac
