# Told of an upgrade while mail flows (part 50 has begun that).
pids() { for each in bridge watchdog keepalive fs-watcher worker-keepalive worker-fs-watcher cred-sync; do echo "$each $(pid_of "$each")"; done; }
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
check 'and is in force' test "$(readlink "$root/opt/s2/current")" != "$before"
check 'only what changed was restarted' only_changed watchdog
check 'with the data kept' within 10 status_says 's2-worker-1'

pids >"$work/pids"
for service in bridge keepalive fs-watcher cred-sync; do printf '\n// next\n' >>"$root/srv/next/dist/$service.js"; done
check 'one that changes the others is taken' install_from /srv/next
check 'and restarts those' only_changed bridge keepalive fs-watcher cred-sync worker-keepalive worker-fs-watcher
pids >"$work/pids"
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
for point in laid current; do
  printf '\n// again\n' >>"$root/srv/next/dist/watchdog.js"
  sed -i 's/^Description=.*/&./' "$root/srv/next/systemd/s2-bridge.service"
  cut_off_at "$point" /srv/next
  check "one that was cut off before it wrote \`$point\` is taken the next time" says 'data and settings are as they were' install_from /srv/next
  check 'and nothing counts as edited' test -z "$(grep 'was edited' "$work/said")"
done
check 'the units verify clean' verify
check 'and everything runs' inside systemctl is-active s2-bridge s2-watchdog s2-keepalive
check 'the version before is a downgrade, and taken too' install_from /src
check 'it is in force' test "$(readlink "$root/opt/s2/current")" = "$before"
check 'and everything runs' inside systemctl is-active s2-bridge s2-watchdog s2-keepalive s2-worker-keepalive
