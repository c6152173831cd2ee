# An agent with a user apart from the services': it shares its mail with them, reads its credential, and is shut out of the rest.
as_ann() { inside runuser -u ann -- "$@"; }
denied() { refuses 'ermission denied' as_ann "$@"; }
shared_is() { [ "$(inside sh -c 'cd /var/lib/s2-worker && stat -c "%U:%G:%a" . inbox outbox credentials | tr "\n" " "')" = "$1 " ]; } # owners and modes
outbox_is_empty() { none_of /var/lib/s2-worker/outbox/new/* /var/lib/s2-worker/outbox/refused/*; }
task_of_ann() { inside s2 task show apart --json | grep -q '"state": *"completed"'; }

chapter 'an agent apart from the services'
inside useradd --create-home --shell /bin/sh ann
inside useradd --create-home --shell /bin/sh bob
check 'one that is nobody' refuses 'there is no user nobody-here' install_from /src 'ROLE=both AGENT_APART=nobody-here'
check 'one that the services run as' refuses 'exclude each other' install_from /src 'ROLE=both AGENT=ann AGENT_APART=ann'
check 'one of an orchestrator' refuses 'are users of a worker' install_from /src 'ROLE=orchestrator AGENT_APART=ann'
inside sh -c 'groupadd --system s2-agent && usermod -aG s2-agent bob'
check 'somebody else in the group' refuses 'bob is in the group s2-agent too' install_from /src 'ROLE=both AGENT_APART=ann'
inside groupdel s2-agent
must 'make install lays it out' install_from /src 'ROLE=both AGENT_APART=ann'
shared='s2-worker:s2-agent:710 s2-worker:s2-agent:2770 s2-worker:s2-agent:2770 s2-worker:s2-agent:2750'
check 'three folders are shared' shared_is "$shared"
check 'the units verify clean' verify
check 'the services start' inside systemctl start s2-watchdog s2-cred-sync s2-worker-cred-sync s2-worker-keepalive
check 'a worker joins' says 'This host is s2-worker-6 now' inside sh -c 's2 worker invite 6 --role apart | s2-worker worker join'
check 'its credential comes' within 30 inside sh -c 'ls /var/lib/s2-worker/credentials/*.json'
inside sh -c 'echo "S2_WAKE=cat >>/var/lib/s2-worker/woken" >/etc/s2/s2-worker-fs-watcher.env && systemctl start s2-worker-fs-watcher'
check 'she is sent a message' inside s2 send s2-worker-6 'look at issue 14'
check 'the watcher sees it' within 5 inside test -s /var/lib/s2-worker/watcher/inbox.json
check 'and reads it' within 5 eval 'as_ann s2-worker check | grep "issue 14"'
check 'she answers' as_ann s2-worker send orchestrator 'on it'
check 'which leaves' within 5 outbox_is_empty
inside systemd-run --quiet --unit=test-agent --uid=ann --working-directory=/home/ann s2-worker work --exec 'id -un >>tasks' >/dev/null
check 'she does a task' eval "inside s2 task add hello --id apart --role apart && within 60 task_of_ann || { inside s2 task show apart; inside journalctl --no-pager -u test-agent -n 10; false; }"
check 'as herself' inside grep -qx ann /home/ann/tasks

chapter 'when she has gone over'
check 'she reads no keys of the host' denied cat /var/lib/s2-worker/keys/identity.json
check 'and no database' denied cat /var/lib/s2/bridge.db
check 'no settings' denied cat /etc/s2/s2.env
for folder in run watcher hints; do check "she sees nothing of $folder" denied ls "/var/lib/s2-worker/$folder"; done
check 'nor what else there is' denied ls /var/lib/s2-worker
check 'she changes no credential' denied sh -c 'echo x >>"$(ls /var/lib/s2-worker/credentials/*.json)"'
check 'plants none' denied touch /var/lib/s2-worker/credentials/x.json
check 'and puts no folder in the place of another' denied mv /var/lib/s2-worker/inbox /var/lib/s2-worker/other
check 'who is neither reads no mail' refuses 'ermission denied' inside runuser -u bob -- ls /var/lib/s2-worker/inbox
for service in worker-cred-sync worker-keepalive; do exposure "$service" 1.5; done

chapter 'and it stays so'
before=$(pid_of worker-keepalive)
check 'an upgrade names nobody' install_from /src
check 'and leaves all as it was' eval 'shared_is "$shared" && test "$(pid_of worker-keepalive)" = "$before"'
inside sh -c 'ln -s /etc/shadow /var/lib/s2-worker/outbox/new/link && chown -h ann /var/lib/s2-worker/outbox/new/link && chmod 755 /var/lib/s2-worker/inbox; stat -c %a:%G /etc/shadow >/run/shadow'
check 'what somebody opened is closed by the next' install_from /src
check 'as it was' shared_is "$shared"
check 'and no link is followed' inside sh -c 'stat -c %a:%G /etc/shadow | cmp - /run/shadow && rm -f /var/lib/s2-worker/outbox/new/link'
check 'bob changes places with her' install_from /src AGENT_APART=bob
check 'he has his mail' inside runuser -u bob -- s2-worker check
check 'and she has it no more' denied ls /var/lib/s2-worker/inbox
check 'he goes' install_from /src AGENT_APART=none
check 'and the folders are the services’ alone' shared_is 's2-worker:s2-worker:700 s2-worker:s2-worker:700 s2-worker:s2-worker:700 s2-worker:s2-worker:700'
check 'with the group' refuses 's2-agent' inside sh -c 'getent group s2-agent || { echo no s2-agent; exit 1; }'
check 'which go on' within 10 inside s2-worker health keepalive
check 'she comes back' install_from /src AGENT_APART=ann
inside systemctl stop test-agent 2>/dev/null
check 'uninstall leaves the group with the data' inside sh -c 'cd /src && sh deploy/install.sh uninstall && getent group s2-agent'
check 'she is found again' install_from /src 'ROLE=both AGENT_APART=ann'
check 'PURGE=1 takes it, and leaves her' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && ! getent group s2-agent && id ann && test -e /home/ann/tasks'
inside sh -c 'userdel -r ann; userdel -r bob' 2>/dev/null
