exposure() { # service most: what systemd-analyze says of it
  local is
  is=$(inside systemd-analyze security --no-pager "s2-$1" | sed -n 's/.*exposure level for.*: \([0-9.]*\) .*/\1/p')
  check "exposure of s2-$1 is ${is:-unknown}, and $2 at most" awk -v is="${is:-11}" -v most="$2" 'BEGIN { exit !(is <= most) }'
}

chapter 'start'
check 'systemctl start s2-watchdog brings the bridge too' inside systemctl start s2-watchdog
check 'both are ready' inside systemctl is-active s2-bridge s2-watchdog
check 'the service manager knows what the watchdog does' within 10 inside sh -c 'systemctl show -p StatusText s2-watchdog | grep agents'
check 'nobody issues credentials yet, and that is said' says 'systemctl start s2-cred-sync' inside s2 worker invite 1 --role tests
check 'cred-sync starts' inside systemctl start s2-cred-sync
check 'as the one that issues them' within 10 inside sh -c 'systemctl show -p StatusText s2-cred-sync | grep "issues credentials"'
check 'a worker is prepared' inside s2 worker prepare 1 --role tests --out /root/one
check 'its keys are a file of whoever calls' inside sh -c 'test "$(stat -c "%U %a" /root/one)" = "root 600"'
check 'of who called sudo too, and where it says' inside sh -c 'cd /root && SUDO_UID=65534 SUDO_GID=65534 s2 worker prepare 9 --role tests --out=./nine | grep -F ./nine && test "$(stat -c "%u %a" nine)" = "65534 600" && ! ls -d /tmp/s2.*'
check 'a file that is there is told first' refuses '/root/one exists already' inside s2 worker prepare 8 --role tests --out /root/one
check 'so is a folder that cannot be written' refuses '/nowhere/eight cannot be written' inside s2 worker prepare 8 --role tests --out /nowhere/eight
check 'and nobody is admitted' lacks s2-worker-8 inside s2 worker list
check 'who is revoked' inside s2 worker revoke 9
check 'is so' says 's2-worker-9 .*revoked' inside s2 worker list
inside sh -c 'mkdir -p /srv/pushed && chown s2: /srv/pushed && runuser -u s2 -- git init --quiet --bare --initial-branch=main /srv/pushed/fleet.git && echo S2_GIT_REMOTE=file:///srv/pushed/fleet.git >/etc/s2/s2-cred-sync.env'
pushed() { inside runuser -u s2 -- git --git-dir=/srv/pushed/fleet.git cat-file -p "main:credentials/$1"; } # file
check 'a git remote that is a folder of this machine is pushed to' eval 'inside systemctl restart s2-cred-sync && within 20 pushed manifest.json'
check 'it holds the credential of the one' within 5 says 's2-credential/2' pushed s2-worker-1-credentials.json
check 'which nobody can use who reads it' lacks 'token\|conv_' pushed s2-worker-1-credentials.json
check 'and none of the other' refuses . pushed s2-worker-9-credentials.json
check 'a credential is rotated' inside s2 credential rotate s2-worker-1
inside sh -c 'rm /etc/s2/s2-cred-sync.env && systemctl restart s2-cred-sync && rm -r /srv/pushed'
inside sh -c 'node -p "tls.rootCertificates[0]" >/etc/s2/ours.crt; echo "console.log(\"trusts\", require(\"tls\").getCACertificates(\"extra\").length)" >/srv/trusts.cjs
  echo NODE_EXTRA_CA_CERTS=/etc/s2/ours.crt >>/etc/s2/s2.env'
check 'the command trusts whom the services trust' says 'trusts 1' inside env NODE_OPTIONS=--require=/srv/trusts.cjs s2 --version
inside sed -i '/NODE_EXTRA/d' /etc/s2/s2.env
check 'keepalive starts' inside systemctl start s2-keepalive
check 'and the orchestrator is alive' within 10 status_says 'orchestrator.*alive'
check 'nobody else reads the state' inside sh -c 'test -z "$(find /var/lib/s2 -perm /007 ! -type l | head)"'
at() { inside sh -c 'nsenter -t "$(systemctl show -p MainPID --value "s2-$1")" -m sh -c "$2"' sh "$@"; } # service script: what is seen from within
sees_no_keys() { refuses 'ermission denied\|No such file' at "$1" "cat $2/keys/identity.json"; } # service state; root tries
check 'cred-sync has the keys of the host' at cred-sync 'grep -q signingKey /var/lib/s2/keys/identity.json'
check 'the bridge does not see the keys of the host' sees_no_keys bridge /var/lib/s2
for service in watchdog keepalive; do check "nor does $service" sees_no_keys "$service" /var/lib/s2; done
inside sh -c 'mkdir -p -m 700 /var/lib/s2/.ssh && echo key >/var/lib/s2/.ssh/id_ed25519 && chown -R s2: /var/lib/s2/.ssh && systemctl restart s2-bridge'
check 'nor the bridge the key that pushes to git' refuses 'ermission denied\|No such file' at bridge 'cat /var/lib/s2/.ssh/id_ed25519'
inside rm -r /var/lib/s2/.ssh
for service in bridge watchdog cred-sync keepalive; do exposure "$service" 1.5; done
exposure fs-watcher 1.0
