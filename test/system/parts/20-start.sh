exposure() { # service most: what systemd-analyze says of it
  local is
  is=$(inside systemd-analyze security --no-pager "s2-$1" | sed -n 's/.*exposure level for.*: \([0-9.]*\) .*/\1/p')
  check "exposure of s2-$1 is ${is:-unknown}, and $2 at most" awk -v is="${is:-11}" -v most="$2" 'BEGIN { exit !(is <= most) }'
}

chapter 'start'
check 'systemctl start s2-watchdog brings the bridge too' inside systemctl start s2-watchdog
check 'both are ready' inside systemctl is-active s2-bridge s2-watchdog
check 'the service manager knows what the watchdog does' inside sh -c 'systemctl show -p StatusText s2-watchdog | grep agents'
check 'a conversation is opened' inside s2 conversation create --role-a orchestrator --role-b tests --number 1 --out /var/lib/s2/out
check 'keepalive starts' inside systemctl start s2-keepalive
check 'and the orchestrator is alive' within 10 status_says 'orchestrator.*alive'
check 'nobody else reads the state' inside sh -c 'test -z "$(find /var/lib/s2 -perm /007 ! -type l | head)"'
for service in bridge watchdog keepalive; do exposure "$service" 1.5; done
exposure fs-watcher 1.0
