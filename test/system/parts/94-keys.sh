# Credentials that come by ssh: the worker's half has the keys of the user whose agent it wakes.
holds_key() { # user home: a key of its own that the git server knows, and the server's
  inside sh -c 'mkdir -p "$2/.ssh" && ssh-keygen -q -t ed25519 -N "" -f "$2/.ssh/id_ed25519" && cat "$2/.ssh/id_ed25519.pub" >>/home/git/.ssh/authorized_keys &&
    ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null >"$2/.ssh/known_hosts" && chown -R "$1:" "$2/.ssh"' sh "$@"
}
sees() { inside sh -c 'nsenter -t $(systemctl show -p MainPID --value s2-worker-cred-sync) -m ls -A /home/ann | tr "\n" " "'; }

chapter 'credentials come with the keys of the agent'
must 'there is an ssh server' inside sh -c 'ssh-keygen -A && mkdir -p /run/sshd && systemd-run --quiet --unit=test-ssh /usr/sbin/sshd -D -oListenAddress=127.0.0.1'
inside sh -c 'useradd --create-home --shell /bin/sh git && useradd --create-home --shell /bin/sh ann && passwd -d git && mkdir -p /home/git/.ssh && runuser -u git -- git init --quiet --bare --initial-branch=main /home/git/fleet.git' >/dev/null
within 10 inside ssh-keyscan 127.0.0.1
inside rm -rf /var/lib/s2-worker # of a fleet of the parts before, to which that half would still belong
check 'ROLE=both AGENT=ann is installed' install_from /src 'ROLE=both AGENT=ann'
check 'she has a key' holds_key ann /home/ann
check 'so has the orchestrator, in the folder of its data' holds_key s2 /var/lib/s2
inside sh -c 'chown -R git: /home/git/.ssh && chmod 700 /home/git/.ssh && touch /home/ann/private
  echo S2_GIT_REMOTE=ssh://git@127.0.0.1/home/git/fleet.git >>/etc/s2/s2.env; echo S2_GIT_POLL=1s >/etc/s2/s2-worker-cred-sync.env'
check 'the units verify clean' verify
check 'the services start' inside systemctl restart s2-watchdog s2-cred-sync s2-worker-cred-sync
check 'a worker joins' says 'This host is s2-worker-5 now' inside sh -c 's2 worker invite 5 --role tests | s2-worker worker join'
check 'its credential goes by ssh, with the key of the orchestrator' within 60 inside runuser -u git -- git --git-dir=/home/git/fleet.git cat-file -e main:credentials/s2-worker-5-credentials.json
check 'and comes' within 20 inside sh -c 'ls /var/lib/s2-worker/credentials/*.json'
check 'by ssh too, with hers' within 60 inside s2-worker health cred-sync
check 'into the mirror of the worker' within 20 inside sh -c 'test -d /var/lib/s2-worker/git/objects'
check 'of her home nothing is seen but the keys' test "$(sees)" = '.ssh '
check 'which cannot be written' refuses 'Read-only' inside sh -c 'nsenter -t $(systemctl show -p MainPID --value s2-worker-cred-sync) -m touch /home/ann/.ssh/known_hosts2'
for service in cred-sync worker-cred-sync; do exposure "$service" 1.5; done
check 'it goes again' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && test ! -e /var/lib/s2-worker && id ann && test -e /home/ann/private'
check 'both with an agent' install_from /src 'ROLE=both AGENT=ann'
check 'becomes an orchestrator alone' install_from /src ROLE=orchestrator
check 'and has no agent any more' inside grep -qx AGENT= /opt/s2/installation
check 'nor units of a worker' none_of "$units/s2-worker-keepalive.service" "$units/s2-worker-cred-sync.service"
check 'it goes' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && rm -rf /var/lib/s2-worker'
inside sh -c 'systemctl stop test-ssh; userdel -r ann; userdel -r git' 2>/dev/null
