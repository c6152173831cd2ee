# The worker's half is another user with another folder; what they share is a bridge address and a git remote.
of_worker() { inside s2-worker "$@"; }
own_mail() { of_worker check --peek | grep -q -e "$1"; }
lines_of() { [ "$(inside sh -c "cat $1 2>/dev/null" | wc -l)" = "$2" ]; } # file how many
git_server() {
  inside systemctl is-active --quiet test-git || inside systemd-run --quiet --unit=test-git --uid=nobody --setenv=HOME=/ \
    git daemon --listen=127.0.0.1 --base-path=/srv/git --export-all --enable=receive-pack --reuseaddr
}

chapter 'an orchestrator becomes a worker too'
inside sh -c 'mkdir -p /srv/git && git init --quiet --bare --initial-branch=main /srv/git/fleet.git && chown -R nobody /srv/git'
git_server
check 'ROLE=both adds the other half' install_from /src ROLE=both
check 'the units verify clean' verify
check 'what is enabled is linked only into what is there' links_are_whole
check 's2-worker-cred-sync starts' inside systemctl start s2-worker-cred-sync
check 'and says what it lacks' within 10 inside sh -c 'journalctl -u s2-worker-cred-sync | grep "has not joined a fleet"'
check 'so does s2 health, with what to do' refuses 'next: .*s2 worker join' of_worker health cred-sync
inside sh -c 'echo S2_GIT_REMOTE=git://127.0.0.1/fleet.git >>/etc/s2/s2.env; echo S2_GIT_POLL=1s >/etc/s2/s2-worker-cred-sync.env; systemctl restart s2-cred-sync s2-worker-cred-sync'
inside sh -c 'echo "S2_WAKE=cat >>/var/lib/s2-worker/woken" >/etc/s2/s2-worker-fs-watcher.env; echo "S2_WAKE=cat >>/var/lib/s2/woken" >/etc/s2/s2-fs-watcher.env'
check 'a worker is invited, and joins' says 'This host is s2-worker-2 now' inside sh -c 's2 worker invite 2 --role backend | s2-worker worker join'
check 'its half starts' inside systemctl start s2-worker-keepalive s2-worker-fs-watcher s2-fs-watcher
check 'its credential comes' within 15 inside sh -c 'ls /var/lib/s2-worker/credentials/*.json'
check 'and lies in git too' within 15 inside runuser -u nobody -- git --git-dir=/srv/git/fleet.git cat-file -e main:credentials/s2-worker-2-credentials.json
check 'where the worker finds it' within 15 of_worker health cred-sync
check 'it is sent a message' inside s2 send s2-worker-2 'look at issue 12'
check 'its watcher wakes it' within 5 lines_of /var/lib/s2-worker/woken 1
check 'it reads it' own_mail 'look at issue 12'
check 'it answers' of_worker send orchestrator 'done'
check "the database's watcher wakes the orchestrator" within 5 inside grep -q '"preview":"done"' /var/lib/s2/woken
check 'who is the worker reads no database' refuses 'ermission denied' inside setpriv --reuid=s2-worker --regid=s2-worker --init-groups cat /var/lib/s2/bridge.db
check 'nor does the worker have the administration' refuses 'no fleet can be reached\|not its administration\|denied' of_worker worker list
check 'and the orchestrator no spool of the worker' refuses 'ermission denied' inside setpriv --reuid=s2 --regid=s2 --init-groups ls /var/lib/s2-worker/inbox
check 'its cred-sync has the keys of its host' at worker-cred-sync 'grep -q signingKey /var/lib/s2-worker/keys/identity.json'
for service in worker-keepalive worker-fs-watcher; do check "$service does not see the keys of its host" sees_no_keys "$service" /var/lib/s2-worker; done
for service in cred-sync worker-cred-sync worker-keepalive; do exposure "$service" 1.5; done
exposure worker-fs-watcher 1.0
