# Told of an upgrade while mail flows (part 50 has begun that).
pids() { for each in bridge watchdog keepalive fs-watcher cred-sync worker-cred-sync worker-keepalive worker-fs-watcher; do echo "$each $(pid_of "$each")"; done; }
only_changed() { # services…: these and no others are other processes than those in $work/pids
  local each old new
  while read -r each old; do
    new=$(pid_of "$each")
    case " $* " in
      *" $each "*) [ "$new" != "$old" ] || { echo "s2-$each was not restarted"; return 1; } ;;
      *) [ "$new" = "$old" ] || { echo "s2-$each was restarted"; return 1; } ;;
    esac
  done <"$work/pids"
}

chapter 'upgrades'
make_next
before=$(readlink "$root/opt/s2/current")
sed -i '1s/^/throw new Error("broken")\n/' "$root/srv/next/dist/watchdog.js"
check 'a version that does not get ready is rolled back' refuses 'rolled back' install_from /srv/next
check 'the old version is in force' test "$(readlink "$root/opt/s2/current")" = "$before"
check 'and everything runs' inside systemctl is-active s2-bridge s2-watchdog s2-keepalive
pids >"$work/pids"
cp "$here/dist/watchdog.js" "$root/srv/next/dist/watchdog.js"
printf '\n// next\n' >>"$root/srv/next/dist/watchdog.js"
check 'a good one is taken' install_from /srv/next
check 'with its examples' inside test -e "/opt/s2/current/examples/first-fleet/fleet.json"
check 'and without the state of a fleet that was tried there' inside test ! -e "/opt/s2/current/examples/first-fleet/.s2"
check 'and is in force' test "$(readlink "$root/opt/s2/current")" != "$before"
check 'only what changed was restarted' only_changed watchdog
check 'with the data kept' within 10 status_says 's2-worker-1'

pids >"$work/pids"
for service in bridge keepalive fs-watcher cred-sync; do printf '\n// next\n' >>"$root/srv/next/dist/$service.js"; done
check 'one that changes the others is taken' install_from /srv/next
check 'and restarts those' only_changed bridge keepalive fs-watcher cred-sync worker-cred-sync worker-keepalive worker-fs-watcher
pids >"$work/pids"
# As one that an installer started who wrote no print.
inside sh -c 'mkdir -p /run/systemd/system/s2-keepalive.service.d && printf "[Service]\nUnsetEnvironment=UNIT_PRINT\n" >/run/systemd/system/s2-keepalive.service.d/test.conf &&
  systemctl daemon-reload && systemctl restart s2-keepalive && rm -r /run/systemd/system/s2-keepalive.service.d && systemctl daemon-reload'
inside systemctl disable --quiet s2-watchdog
pids >"$work/pids"
check 'the same again' says 'is installed already' install_from /srv/next
check 'restarts who cannot say what it was started from' only_changed keepalive
check 'and enables nothing that was disabled' refuses '^disabled' inside systemctl is-enabled s2-watchdog
inside systemctl enable --quiet s2-watchdog
pids >"$work/pids"
inside sh -c 'cd /opt/s2 && sed -n s/^ROLE=//p installation >role && sed -n s/^AGENT=//p installation >agent && sed -n s/^RELEASE=//p installation >installed && mkdir prints && rm installation /var/lib/s2-installations'
check 'what an older installer left is understood' says 'is installed already' install_from /srv/next
check 'and remembered anew' inside sh -c 'cd /opt/s2 && grep ^ROLE=both installation && grep ^STATE=/var/lib/s2$ installation && grep ^UNITS=/usr/local/lib/systemd/system$ installation && test -z "$(ls -d role agent prints 2>/dev/null)"'
check 'nothing was restarted for that' only_changed none
inside sh -c 'mkdir -p /etc/systemd/system/s2-keepalive.service.d && printf "[Service]\nEnvironment=S2_BEAT=2s\n" >/etc/systemd/system/s2-keepalive.service.d/mine.conf'
inside sed -i 's/^Description=.*/Description=S2 mine/' "$units/s2-cred-sync.service"
sed -i 's/^Description=.*/&./' "$root/srv/next/systemd/s2-watchdog.service"
check 'one with another unit is taken, and tells of a unit that was edited' says 's2-cred-sync.service was edited' install_from /srv/next
check 'which is kept beside it' grep 'S2 mine' "$root$units/s2-cred-sync.service.edited"
check 'only the service of that unit was restarted' only_changed watchdog
check 'a drop-in is in force still' inside sh -c 'systemctl show -p Environment s2-keepalive | grep S2_BEAT=2s'
check 'nobody runs on a version that was taken away' inside sh -c 'for pid in $(systemctl show -p MainPID --value "s2-*.service" | grep -v "^0$"); do test -e "$(readlink /proc/$pid/exe)" || exit 1; done'
check 'the units verify clean' verify
inside rm -f "$units/s2-cred-sync.service.edited" /etc/systemd/system/s2-keepalive.service.d/mine.conf
for point in laid current installation; do
  printf '\n// again\n' >>"$root/srv/next/dist/watchdog.js"
  sed -i 's/^Description=.*/&./' "$root/srv/next/systemd/s2-bridge.service"
  cut_off_at "$point" /srv/next
  check "one that was cut off before it wrote \`$point\` is taken the next time" says 'data and settings are as they were' install_from /srv/next
  check 'and nothing counts as edited' test -z "$(grep 'was edited' "$work/said")"
done
check 'the units verify clean' verify
check 'and everything runs' inside systemctl is-active s2-bridge s2-watchdog s2-keepalive
# As an older release laid it, where the worker of both had the plain name, and an orchestrator issued nothing.
inside sh -c "systemctl disable --quiet --now s2-worker-cred-sync s2-cred-sync
  cd $units && mv s2-worker-cred-sync.service s2-cred-sync.service && mv s2-worker-cred-sync.service.d/* s2-cred-sync.service.d/ 2>/dev/null
  rm -rf s2-worker-cred-sync.service.d s2-cred-sync.service.d/25-* && cp s2-worker-.service.d/15-half.conf s2-cred-sync.service.d/
  sed -i '/cred-sync/d' /opt/s2/laid && find ./s2-cred-sync.service* -type f -exec sha256sum {} + | sed 's/  / /' >>/opt/s2/laid
  systemctl daemon-reload && systemctl enable --quiet --now s2-cred-sync"
check 'the worker of an older release has the plain name' says '=alice' inside systemctl show -p User s2-cred-sync
is_enabled_for() { inside test -L "/etc/systemd/system/$2.wants/$1.service"; } # service target
check 'an upgrade from that is taken' install_from /srv/next
check 'it is the one that issues credentials now' within 10 inside sh -c 'systemctl show -p StatusText s2-cred-sync | grep "issues credentials"'
check 'for the orchestrator, and no more for the worker' eval 'is_enabled_for s2-cred-sync s2-orchestrator.target && ! is_enabled_for s2-cred-sync s2-worker.target'
check 'the worker has one of its own, which runs' inside systemctl is-active s2-worker-cred-sync
check 'and comes back with the machine' is_enabled_for s2-worker-cred-sync s2-worker.target
check 'nothing counts as edited' none_of "$units/*.edited"
check 'the version before is a downgrade, and taken too' install_from /src
check 'it is in force' test "$(readlink "$root/opt/s2/current")" = "$before"
check 'and everything runs' inside systemctl is-active s2-bridge s2-watchdog s2-keepalive s2-worker-keepalive
