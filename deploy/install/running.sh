# What runs, compared with what is installed. Each unit carries a print of all that its process is made of, in its
# environment, so that the process itself says what it was started from, whoever laid it.
# shellcheck shell=sh

# Its bundle (which names its chunks by what is in them), what all bundles load beside themselves, and its unit.
print_of() { # service release
  release="$at/releases/$2"
  {
    cat "$release/dist/$(program_of "$1").js"
    cat "$release"/dist/migrations/*
    cat "$release/bin/node.sum"
    cat "$release"/node_modules/*/package.json
    cat "$stage/$1.service" "$stage/s2-.service.d"/* "$stage/$1.service.d"/* 2>/dev/null || true
    case $1 in s2-worker-*) cat "$stage/s2-worker-.service.d"/* ;; esac
  } | sha256sum | cut -c1-16
}

print_units() { # release: writes the print into each unit that is staged
  for service in $services; do
    [ -f "$stage/$service.service" ] || continue
    sed -i "s/^\[Service\]\$/&\nEnvironment=UNIT_PRINT=$(print_of "$service" "$1")/" "$stage/$service.service"
  done
}

pid_of() { ctl show --property=MainPID --value "$1" 2>/dev/null; }
is_as_laid() { # service: it runs from what lies here now
  print=$(sed -n 's/^Environment=UNIT_PRINT=//p' "$stage/$1.service")
  tr '\0' '\n' <"/proc/$(pid_of "$1")/environ" 2>/dev/null | grep -qx "UNIT_PRINT=$print"
}

# Restarts what runs and is another now, and what was stopped for us. A version that does not get ready is taken back.
restart_changed() {
  restarted=''
  for service in $services; do
    if ! grep -qsx "$service" "$at/paused"; then
      ctl is-active --quiet "$service" || continue
      ! is_as_laid "$service" || continue
    fi
    restarted="$restarted $service"
    ctl reset-failed "$service" 2>/dev/null || true # an upgrade is none of the falls that are counted
    if ctl restart "$service"; then continue; fi
    [ -n "$before" ] && [ "$before" != "$id" ] || fail "$service does not start" "$(journal "$service")"
    say "$service does not get ready with the new version: going back to $before"
    point_to "$before"
    lay_units "$before"
    ctl daemon-reload
    enable_new || true
    note_laid
    ctl reset-failed 's2-*' || true
    for back in $restarted $(cat "$at/paused" 2>/dev/null); do ctl restart "$back" || true; done
    rm -f "$at/paused"
    fail 'the new version was rolled back; data and settings are as they were' "$(journal "$service")"
  done
  rm -f "$at/paused"
}
journal() { [ $MODE = user ] && echo "journalctl --user-unit $1" || echo "journalctl -u $1"; }

# Which release a running service was started from: an upgrade that leaves it alone leaves that too.
is_in_use() { # release
  for service in $services; do
    pid=$(pid_of "$service")
    case $(readlink "/proc/${pid:-0}/exe" 2>/dev/null) in */releases/"$1"/*) return 0 ;; esac
  done
  return 1
}
