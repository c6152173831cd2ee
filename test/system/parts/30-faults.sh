# A way to block the event loop of a real service, without a hook in it: a drop-in loads a file that blocks on a signal.
blockable() { # service
  inside sh -c "mkdir -p /srv/test /etc/systemd/system/s2-$1.service.d
    echo \"process.on('SIGUSR2', () => { for (;;); })\" >/srv/test/block.cjs
    printf '[Service]\nEnvironment=NODE_OPTIONS=--require=/srv/test/block.cjs\nWatchdogSec=6\n' >/etc/systemd/system/s2-$1.service.d/test.conf
    systemctl daemon-reload && systemctl restart s2-$1"
}
ended_by_watchdog() { inside journalctl -u "s2-$1" | grep -q 'Watchdog timeout'; }

chapter 'what dies comes back'
for service in bridge watchdog cred-sync keepalive; do
  old=$(pid_of "$service")
  inside kill -9 "$old"
  check "s2-$service is back within 3 s of kill -9" within 3 is_another "$service" "$old"
done
check 'the fleet is whole again' within 10 status_says 'orchestrator.*alive'

chapter 'what stands still is ended'
old=$(pid_of watchdog)
inside kill -STOP "$old"
for service in bridge keepalive; do
  check "s2-$service can be blocked" blockable "$service"
  blocked=$(pid_of "$service")
  inside kill -USR2 "$blocked"
  check 'a blocked event loop is ended, and another is there' within 20 is_another "$service" "$blocked"
  check 'by the watchdog of the service manager' ended_by_watchdog "$service"
done
check 's2-watchdog, stopped in its tracks, is ended and back within 40 s' within 40 is_another watchdog "$old"
check 'the fleet is whole again' within 10 status_says 'orchestrator.*alive'

chapter 'the disk of the state is full'
inside systemctl stop s2-keepalive s2-cred-sync s2-watchdog s2-bridge
inside sh -c 'cp -a /var/lib/s2 /srv/s2-before && mount -t tmpfs -o size=24m,mode=0750,uid=$(id -u s2),gid=$(id -g s2) tmpfs /var/lib/s2 && cp -a /srv/s2-before/. /var/lib/s2/ && systemctl start s2-bridge s2-watchdog s2-cred-sync s2-keepalive'
conversation=$(inside s2 conversation list --json | sed -n 's/.*"id": "\(conv_[0-9a-f]*\)".*/\1/p' | head -n 1)
send() { inside s2 send orchestrator "$1" --from "$conversation/b" --json; } # what was acknowledged is queued
check 'a message is taken' send before
inside sh -c 'dd if=/dev/zero of=/var/lib/s2/fill bs=64k 2>/dev/null; dd if=/dev/zero of=/var/lib/s2/fill2 bs=1k 2>/dev/null; dd if=/dev/zero of=/var/lib/s2/fill3 bs=100 2>/dev/null'
: >"$work/acked"
fill_up() { # sends until it is refused, and notes what was acknowledged
  local n
  for n in $(seq 1 200); do
    if send "full-$n $(printf '%3000s' x)" >"$work/sent" 2>&1; then echo "full-$n" >>"$work/acked"; else cat "$work/sent"; return 0; fi
  done
  return 1
}
check 'a full disk takes no more' fill_up
check 'and says so' grep -Eqi 'full|no space|disk' "$work/sent"
check 'what cannot work says so too' within 20 refuses 'full\|no space\|disk' inside s2 health
check 'no service has ended' inside systemctl is-active s2-bridge s2-watchdog s2-cred-sync s2-keepalive
check 'one can still look' says '^[0-9]* agents\?, ' inside sh -c 's2 status || [ $? -eq 1 ]'
inside rm -f /var/lib/s2/fill /var/lib/s2/fill2 /var/lib/s2/fill3
check 'with room again it takes messages by itself' within 30 send after
check 'everything is well again' within 30 inside s2 health
came() { # every acknowledged message lies in the inbox once
  local text
  inside s2 check --peek --limit 1000 --json >"$work/inbox"
  for text in before after $(cat "$work/acked"); do
    [ "$(grep -c "\"text\":\"${text}[ \"]" "$work/inbox")" = 1 ] || { echo "$text is there $(grep -c "\"text\":\"${text}[ \"]" "$work/inbox") times"; return 1; }
  done
}
check 'nothing that was acknowledged is lost' within 20 came
inside sh -c 'systemctl stop s2-keepalive s2-cred-sync s2-watchdog s2-bridge && rm -rf /srv/s2-before && cp -a /var/lib/s2 /srv/s2-after && umount /var/lib/s2 && find /var/lib/s2 -mindepth 1 -delete && cp -a /srv/s2-after/. /var/lib/s2/ && rm -rf /srv/s2-after
  rm -f /etc/systemd/system/s2-*.service.d/test.conf && systemctl daemon-reload && systemctl start s2-bridge s2-watchdog s2-cred-sync s2-keepalive'
check 'the fleet is whole again' within 10 status_says 'orchestrator.*alive'
