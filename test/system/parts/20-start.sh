exposure() { # service most: what systemd-analyze says of it
  local is
  is=$(inside systemd-analyze security --no-pager "s2-$1" | sed -n 's/.*exposure level for.*: \([0-9.]*\) .*/\1/p')
  check "exposure of s2-$1 is ${is:-unknown}, and $2 at most" awk -v is="${is:-11}" -v most="$2" 'BEGIN { exit !(is <= most) }'
}

chapter 'start'
check 'systemctl start s2-watchdog brings the bridge too' inside systemctl start s2-watchdog
check 'both are ready' inside systemctl is-active s2-bridge s2-watchdog
check 'the service manager knows what the watchdog does' inside sh -c 'systemctl show -p StatusText s2-watchdog | grep agents'
check 'a conversation is opened' inside s2 conversation create --role-a orchestrator --role-b tests --number 1 --out /root/out
check 'a credential for --out is a file of whoever calls' inside sh -c 'test "$(stat -c "%U %a" /root/out/s2-worker-1-credentials.json)" = "root 600"'
check 'of who called sudo too, and where it says' inside sh -c 'cd /root && SUDO_UID=65534 SUDO_GID=65534 s2 credential rotate s2-worker-1 --out=. | grep -F ./s2-worker-1-credentials.json && test "$(stat -c "%u %a" s2-worker-1-credentials.json)" = "65534 600" && ! ls /tmp/s2.*'
check 'a folder that cannot be written is told first' refuses '/proc/here cannot be written' inside s2 conversation create --role-b tests --number 9 --out /proc/here
check 'and no channel is opened' lacks s2-worker-9 inside s2 conversation list
inside sh -c 'node -p "tls.rootCertificates[0]" >/etc/s2/ours.crt; echo "console.log(\"trusts\", require(\"tls\").getCACertificates(\"extra\").length)" >/srv/trusts.cjs
  echo NODE_EXTRA_CA_CERTS=/etc/s2/ours.crt >>/etc/s2/s2.env'
check 'the command trusts whom the services trust' says 'trusts 1' inside env NODE_OPTIONS=--require=/srv/trusts.cjs s2 --version
inside sed -i '/NODE_EXTRA/d' /etc/s2/s2.env
check 'keepalive starts' inside systemctl start s2-keepalive
check 'and the orchestrator is alive' within 10 status_says 'orchestrator.*alive'
check 'nobody else reads the state' inside sh -c 'test -z "$(find /var/lib/s2 -perm /007 ! -type l | head)"'
for service in bridge watchdog keepalive; do exposure "$service" 1.5; done
exposure fs-watcher 1.0
