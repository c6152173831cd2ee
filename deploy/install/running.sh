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
    roll_back "$service"
  done
  rm -f "$at/paused"
}

# Goes back to the version before, and says so; where that one cannot read the database any more, the new one stays in force.
roll_back() { # the service that does not get ready
  say "$1 does not get ready with the new version: going back to $before"
  back="$restarted $(cat "$at/paused" 2>/dev/null || true)"
  point_to "$before"
  lay_units "$before"
  ctl daemon-reload
  enable_new || true
  note_laid
  ctl reset-failed 's2-*' || true
  stuck=''
  for each in $back; do ctl restart "$each" || stuck="$stuck $each"; done
  if [ -z "$stuck" ] || [ "$(schema_of "$before")" -ge "$(schema_of "$id")" ]; then
    rm -f "$at/paused"
    fail 'the new version was rolled back; data and settings are as they were' "$(journal "$1")"
  fi
  say "${stuck# } cannot start with $before: the new version has changed the tables of the database"
  stay
  fail "the new version stays in force, with all data; what does not start:${stuck:- nothing now}" \
    "$(journal "$1"); once that is mended, run this again. The way back to $before: docs/install.md, Back to the version before"
}

# Puts the new version in force for good, and starts what can be started of it.
stay() {
  point_to "$id"
  lay_units "$id"
  ctl daemon-reload
  ctl reset-failed 's2-*' || true
  stuck=''
  for each in $services; do
    case " $back " in *" $each "*) ;; *) ctl is-active --quiet "$each" && ! is_as_laid "$each" || continue ;; esac
    ctl restart "$each" || stuck="$stuck $each"
  done
  enable_new || true # not before: what is new may have had another name
  note_laid
  rm -f "$at/paused"
}
# The number of the last change to the tables that a release knows.
schema_of() { # release
  { echo 0-none.sql; ls "$at/releases/$1/dist/migrations" 2>/dev/null; } | sed -n 's/^0*\([0-9]\{1,\}\)-.*\.sql$/\1/p' | sort -n | tail -n 1
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
