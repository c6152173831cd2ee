exposure_at_most() { # service most
  inside systemd-analyze security --no-pager "s2-$1" | tail -n 1 | tee "$work/exposure" |
    awk -v most="$2" '{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9.]+$/ && $i <= most) found = 1 } END { exit !found }'
}

chapter 'start'
check 'systemctl start s2-watchdog brings the bridge too' inside systemctl start s2-watchdog
check 'both are ready' inside systemctl is-active s2-bridge s2-watchdog
check 'the service manager knows what the watchdog does' inside sh -c 'systemctl show -p StatusText s2-watchdog | grep agents'
check 'a conversation is opened' inside s2 conversation create --role-a orchestrator --role-b tests --number 1 --out /var/lib/s2/out
check 'keepalive starts' inside systemctl start s2-keepalive
check 'and the orchestrator is alive' within 10 status_says 'orchestrator.*alive'
check 'nobody else reads the state' inside sh -c 'test -z "$(find /var/lib/s2 -perm /007 ! -type l | head)"'
for service in bridge watchdog keepalive; do
  check "exposure of s2-$service is 1.5 or less" exposure_at_most "$service" 1.5
done
check 'exposure of s2-fs-watcher is 1.0 or less' exposure_at_most fs-watcher 1.0
