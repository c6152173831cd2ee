# Compares running services with what is installed. Each unit sets a hash of all files of its process in the environment, so
# that a running process shows what it was started from.
# shellcheck shell=sh

# Hashes a service's bundle (which names its chunks by their hashes), the files that all bundles load, and its unit.
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

print_units() { # release: writes the hash into each staged unit
  for service in $services; do
    [ -f "$stage/$service.service" ] || continue
    sed -i "s/^\[Service\]\$/&\nEnvironment=UNIT_PRINT=$(print_of "$service" "$1")/" "$stage/$service.service"
  done
}

pid_of() { ctl show --property=MainPID --value "$1" 2>/dev/null; }
is_as_laid() { # service: it runs from the installed files
  print=$(sed -n 's/^Environment=UNIT_PRINT=//p' "$stage/$1.service")
  tr '\0' '\n' <"/proc/$(pid_of "$1")/environ" 2>/dev/null | grep -qx "UNIT_PRINT=$print"
}

# Restarts running services that have changed, and those that were stopped here. A version that does not get ready is rolled
# back.
restart_changed() {
  restarted=''
  for service in $services; do
    if ! grep -qsx "$service" "$at/paused"; then
      ctl is-active --quiet "$service" || continue
      ! is_as_laid "$service" || continue
    fi
    restarted="$restarted $service"
    ctl reset-failed "$service" 2>/dev/null || true # an upgrade does not count as a failure
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

# Whether a running service was started from a release, which an upgrade then keeps.
is_in_use() { # release
  for service in $services; do
    pid=$(pid_of "$service")
    case $(readlink "/proc/${pid:-0}/exe" 2>/dev/null) in */releases/"$1"/*) return 0 ;; esac
  done
  return 1
}
