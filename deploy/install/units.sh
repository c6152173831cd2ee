# Units: assembled for this role, installed, and removed.
# shellcheck shell=sh

# Assembles all units of this role and mode from a tree, in a staging folder.
stage_units() { # folder of a release's or the checkout's units
  rm -rf "$stage" && mkdir -p "$stage"
  (cd "$1" && tar -cf - s2-*) | tar -xf - -C "$stage"
  set -- "$1" "in-$MODE"
  [ "$ROLE" = worker ] || set -- "$@" on-orchestrator "on-orchestrator-in-$MODE"
  # The watcher runs as the user whose agent it wakes.
  if [ $MODE = user ] || { [ "$ROLE" = worker ] && [ -n "$AGENT" ]; }; then set -- "$@" for-agent; fi
  # The credentials are fetched with that user's keys.
  if [ "$ROLE" = worker ] && [ -n "$AGENT" ]; then set -- "$@" keys-of-agent; fi
  version=$(systemd_version)
  if [ "${version:-0}" -ge 254 ]; then set -- "$@" since-254; fi
  [ -d "$1/../node_modules/unix-dgram/build" ] || set -- "$@" without-unix-dgram
  tree=$1
  shift
  for layer in "$@"; do
    [ ! -d "$tree/$layer" ] || (cd "$tree/$layer" && tar -cf - .) | tar -xf - -C "$stage"
  done
  if [ "$ROLE" = both ]; then stage_second_half; fi
  find "$stage" -type f -exec sed -i "s#@PREFIX@#$PREFIX#g; s#@ETC@#$ETC#g; s#@AGENT_HOME@#${agent_home:-}#g; $(half_of "$owner" "$group" "$STATE")" {} +
  if [ $MODE = user ]; then
    find "$stage" -type f -exec sed -i '/network-online\.target$/d; s/ network\.target$//; /^After=network\.target$/d; s/multi-user\.target/default.target/' {} +
  fi
  case $ROLE in
    orchestrator) rm -rf "$stage"/s2-worker.target ;;
    worker) rm -rf "$stage"/s2-bridge.service* "$stage"/s2-watchdog.service* "$stage"/s2-orchestrator.target "$stage"/*.timer "$stage"/s2-backup.* ;;
  esac
  if [ "$ROLE" = orchestrator ] && ! issues_credentials; then rm -rf "$stage"/s2-cred-sync.service*; fi
  # A unit is linked only into those of our targets that are installed too.
  for target in s2-orchestrator.target s2-worker.target; do
    [ -e "$stage/$target" ] || find "$stage" -maxdepth 1 -type f -exec sed -i "/^WantedBy=/s/ *\\b$target//; s/^WantedBy= */WantedBy=/" {} +
  done
  stage_store
  find "$stage" -type f -exec chmod 644 {} +
}

# Whether an orchestrator's host has a cred-sync, in the release whose units are staged: a rollback may lead to one before that.
issues_credentials() { [ -d "$tree/on-orchestrator/s2-cred-sync.service.d" ]; }

# Older releases name the data by a folder below /var/lib (@STATE_NAME@).
half_of() { # user group state
  printf 's#@USER@#%s#g; s#@GROUP@#%s#g; s#@STATE@#%s#g; s#@REAL_STATE@#%s#g; s#@STATE_NAME@#%s#g' "$1" "$2" "$3" "$(live && real "$3" || echo "$3")" "${3#/var/lib/}"
}

# The worker beside an orchestrator: the same units under other names, and as another user.
stage_second_half() {
  half=$(half_of "$worker_owner" "$worker_group" "$worker_state")
  names='s/s2-keepalive/s2-worker-keepalive/g; s/s2-fs-watcher/s2-worker-fs-watcher/g; s/s2-orchestrator\.target //; s/ s2-orchestrator\.target//'
  sync=s2-cred-sync
  ! issues_credentials || { sync=s2-worker-cred-sync names="$names; s/s2-cred-sync/$sync/g"; }
  for name in keepalive fs-watcher $(! issues_credentials || echo cred-sync); do
    sed "$names; s/^Description=S2 $name/& of the worker/" "$stage/s2-$name.service" >"$stage/s2-worker-$name.service"
    sed -i 's/s2-worker\.target //; s/ s2-worker\.target//' "$stage/s2-$name.service"
  done
  issues_credentials || sed -i "$names" "$stage/s2-cred-sync.service"
  mkdir -p "$stage/s2-worker-.service.d" "$stage/$sync.service.d"
  for name in keepalive fs-watcher $(! issues_credentials || echo cred-sync); do
    mkdir -p "$stage/s2-worker-$name.service.d"
    [ ! -d "$stage/s2-$name.service.d" ] || cp "$stage/s2-$name.service.d"/* "$stage/s2-worker-$name.service.d/"
  done
  rm -f "$stage"/s2-worker-*.service.d/25-* # what makes a service the orchestrator's
  # The orchestrator's watcher keeps its sandbox: the agent is the worker's.
  if [ -n "$AGENT" ]; then
    cp "$tree"/for-agent/s2-fs-watcher.service.d/* "$stage/s2-worker-fs-watcher.service.d/"
    cp "$tree"/keys-of-agent/s2-cred-sync.service.d/* "$stage/$sync.service.d/"
  fi
  find "$stage"/s2-worker-*.service.d "$stage/$sync.service.d" -type f -exec sed -i "$half" {} +
  for folder in s2-worker-.service.d "$sync.service.d"; do
    sed "$half" "$stage/s2-.service.d/15-half.conf" >"$stage/$folder/15-half.conf"
  done
}

staged() { (cd "$stage" && find . -type f | LC_ALL=C sort); }
staged_units() { # without templates, which other units start
  (cd "$stage" && find . -maxdepth 1 -type f ! -name '*@*' -printf '%f\n' | LC_ALL=C sort)
}

# `laid` lists the files and sums of the last complete installation, `laying` those of one that has begun since. Together they
# show which units are ours, and their content before somebody edited them.
known_units() { cat "$at/laid" "$at/laying" 2>/dev/null || true; }
was_laid() { grep -qs " \./$1\$" "$at/laid"; } # unit

# A unit of that name that S2 did not install is not replaced.
check_units() {
  staged | while read -r file; do
    folder=$DESTDIR$UNITS/$(dirname "$file")
    [ ! -e "$folder" ] || [ -d "$folder" ] || fail "$folder is no folder" 'move it away, or choose another UNITS'
    [ -e "$DESTDIR$UNITS/$file" ] || continue
    known_units | grep -q " $file\$" || cmp -s "$stage/$file" "$DESTDIR$UNITS/$file" ||
      fail "$DESTDIR$UNITS/${file#./} is there and is not from S2" 'move it away, or choose another UNITS'
  done
  live || return 0
  ctl show --property=UnitPath --value | tr ' ' '\n' | grep -qx "$UNITS" ||
    fail "systemd looks for no units in $UNITS" "choose one of: $(ctl show --property=UnitPath --value)" 64
  staged_units | while read -r unit; do
    found=$(ctl show --property=FragmentPath --value "$unit" 2>/dev/null)
    case $found in '' | "$UNITS"/* | /dev/null) continue ;; esac
    [ "$(real "$found")" != /dev/null ] || continue # it is masked by an administrator
    is_ours "$found" || { [ "${unit%.target}" != "$unit" ] && is_older "$found"; } ||
      fail "$found is there and is not from S2 in $PREFIX" "remove it, or the installation that it belongs to: a host has one"
  done
}

# Older installers put units where the administrator's are, which win over ours: unchanged ones are removed, and edited ones
# stay in force.
is_older() { # file in /etc/systemd/system
  older=$at/releases/$before/systemd/${1#/etc/systemd/system/}
  [ -n "$before" ] && [ -f "$older" ] && sed "s#@PREFIX@#$PREFIX#g; s#@ETC@#$ETC#g; s#@STATE@#$STATE#g" "$older" | cmp -s - "$1"
}
lift_older_units() {
  lifted='' lifted_enabled=''
  for_host && [ ! -f "$at/laid" ] || return 0
  for file in /etc/systemd/system/s2-*.service.d/*.conf /etc/systemd/system/s2-*.*; do
    [ -f "$file" ] && is_older "$file" || continue
    unit=$(basename "$file")
    case $unit in
      *.service | *.target)
        lifted="$lifted $unit"
        ! ctl is-enabled --quiet "$unit" 2>/dev/null || lifted_enabled="$lifted_enabled $unit"
        ctl disable --quiet "$unit" 2>/dev/null || true
        ;;
    esac
    rm -f "$file"
    rmdir "$(dirname "$file")" 2>/dev/null || true
  done
}

# Units come from the release in force, so that a rollback restores its units too. A unit that somebody has edited is kept
# under another name.
lay_units() { # release
  stage_units "$at/releases/$1/systemd"
  print_units "$1"
  mkdir -p "$DESTDIR$UNITS"
  known_units | sed 's/^[^ ]* //' | LC_ALL=C sort -u | while read -r file; do
    laid=$DESTDIR$UNITS/${file#./}
    [ -f "$laid" ] || continue
    if ! known_units | grep -qF "$(sha256sum <"$laid" | cut -d' ' -f1) $file" && ! cmp -s "$stage/$file" "$laid"; then
      cp "$laid" "$laid.edited"
      say "$laid was edited: that is kept in $laid.edited; changes belong into a drop-in (systemctl edit), where they stay in force"
    fi
    [ ! -f "$stage/$file" ] || continue
    case $file in
      ./s2-*@*) ;;
      ./s2-*.service | ./s2-*.target | ./s2-*.timer) ! live || ctl disable --now --quiet "${file#./}" 2>/dev/null || true ;;
    esac
    rm -f "$laid"
    rmdir "$(dirname "$laid")" 2>/dev/null || true
  done
  staged_sums >>"$at/laying"
  staged | while read -r file; do
    mkdir -p "$(dirname "$DESTDIR$UNITS/$file")"
    cmp -s "$stage/$file" "$DESTDIR$UNITS/$file" || {
      cp "$stage/$file" "$DESTDIR$UNITS/$file.part"
      mv "$DESTDIR$UNITS/$file.part" "$DESTDIR$UNITS/$file"
    }
  done
}
staged_sums() { (cd "$stage" && staged | xargs sha256sum | sed 's/  / /'); }

# Records that all units are installed.
note_laid() {
  staged_sums >"$at/laid.part"
  mv "$at/laid.part" "$at/laid"
  rm -f "$at/laying"
}

# Units are enabled once, when they are first installed; from then on the administrator decides.
enable_new() {
  for unit in $services $targets $(timers); do
    case $unit in *.*) ;; *) unit=$unit.service ;; esac
    [ -e "$stage/$unit" ] || continue
    ! was_laid "$unit" || continue
    case " $lifted " in *" $unit "*) case " $lifted_enabled " in *" $unit "*) ;; *) continue ;; esac ;; esac
    [ "$(ctl is-enabled "$unit" 2>/dev/null || true)" != masked ] || { say "$unit is masked and stays so"; continue; }
    case $unit in
      # A watcher that knows no way to wake fails at every start, and one that nobody asked for tells people of agents that have no client.
      *fs-watcher.service) grep -qsE '^ *S2_WAKE(_BY|_WEBHOOK)?=' "$ETC/s2.env" "$ETC/${unit%.service}.env" || continue ;;
    esac
    case $unit in
      *.timer) ctl enable --now --quiet "$unit" ;;
      *) ctl enable --quiet "$unit" ;;
    esac
    start_in_running_half "$unit"
  done
}

# An upgrade starts the service that it brings to a half of the host that runs: nobody else would before the next boot.
start_in_running_half() { # unit
  case $1 in
    s2-worker-cred-sync.service) beside=s2-worker-keepalive ;;
    s2-cred-sync.service) beside=s2-bridge ;;
    *) return 0 ;;
  esac
  [ -f "$at/laid" ] && ctl is-active --quiet "$beside" || return 0
  ctl start "$1" || say "$1 does not start: $(journal "${1%.service}")"
}
timers() { (cd "$stage" && ls s2-*.timer 2>/dev/null || true); }

# Removes links that enable our units for a target that no longer wants them, or that lead to a missing file. A unit that was
# enabled for another target than now is enabled for the one of now.
sweep_links() {
  moved=''
  if [ $MODE = user ]; then set -- "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user" "${XDG_RUNTIME_DIR:-/nowhere}/systemd/user"
  else set -- /etc/systemd/system /run/systemd/system; fi
  for folder; do
    for link in "$folder"/*.wants/s2-* "$folder"/*.requires/s2-*; do
      [ -L "$link" ] || continue
      case $(real "$link") in "$(real "$UNITS")"/*) ;; *) continue ;; esac
      asking=$(basename "$(dirname "$link")")
      asking=${asking%.*}
      if [ -e "$link" ]; then
        case $asking in s2-*.target) ;; *) continue ;; esac
        ! grep -q "^WantedBy=\(.* \)\?$asking\( \|\$\)" "$link" || continue
        moved="$moved $(basename "$link")"
      fi
      rm -f "$link"
      rmdir "$(dirname "$link")" 2>/dev/null || true
    done
  done
  # shellcheck disable=SC2086 # every unit is a word
  [ -z "$moved" ] || ctl enable --quiet $moved
}

# Stops and disables our units only: another installation may have a unit of the same name.
stop_units() {
  known_units | sed -n 's#^[^ ]* \./\(s2-[^/@]*\.\(service\|timer\|target\)\)$#\1#p' | sort -u | while read -r unit; do
    found=$(ctl show --property=FragmentPath --value "$unit" 2>/dev/null)
    case $found in
      "$UNITS"/*) ;;
      *) is_ours "$found" || continue ;;
    esac
    ctl disable --now --quiet "$unit" 2>/dev/null || ctl stop "$unit" 2>/dev/null || true
  done
}

take_units() {
  known_units | sed 's/^[^ ]* //' | sort -u | while read -r file; do
    ! is_of_others "$file" || continue
    rm -f "$DESTDIR$UNITS/$file"
    rmdir "$(dirname "$DESTDIR$UNITS/$file")" 2>/dev/null || true
  done
  rmdir "$DESTDIR$UNITS" 2>/dev/null || true # where no other units are
}
is_of_others() { # file of a unit
  other_installations | while read -r other; do
    [ "$(recorded "$other" UNITS)" != "$UNITS" ] || ! grep -qs " $1\$" "$other/laid" || echo "$other"
  done | grep -q .
}
