# A worker's half that runs as the user whose agent it wakes, which reaches what that user reaches: here a home folder, the
# network, and a socket in /tmp, where tmux has its own.
chapter 'the agent has a user'
inside useradd --create-home --shell /bin/sh alice
inside sh -c 'cat >/etc/s2/s2-worker-fs-watcher.env' <<'ENV'
S2_WAKE=cat >>$HOME/woken; ls -d /tmp/seen-by-all /home/alice >>$HOME/woken; touch /tmp/by-alice; (setsid sleep 600 &)
ENV
inside touch /tmp/seen-by-all
check 'AGENT names it, and the worker is hers' install_from /src 'AGENT=alice'
check 'the units verify clean' verify
check 'what the worker had is hers too' test "$(inside sh -c 'find /var/lib/s2-worker -not -user alice | wc -l')" = 0
check 'her half runs' inside systemctl is-active s2-worker-cred-sync s2-worker-keepalive s2-worker-fs-watcher
check 'she asks for her mail herself' inside runuser -u alice -- s2-worker check
check 'she is sent a message' inside s2 send s2-worker-2 'and at issue 13'
check 'and woken, where she has her things' within 5 inside grep -q '^/home/alice$' /home/alice/woken
check 'outside of any sandbox' inside sh -c 'grep -q ^/tmp/seen-by-all$ /home/alice/woken && test -e /tmp/by-alice'
check 'she reads it' within 5 inside runuser -u alice -- sh -c 's2-worker check --peek | grep "issue 13"'
check 'a restart of the watcher' inside systemctl restart s2-worker-fs-watcher
check 'leaves what she started alone' inside pgrep -u alice sleep
check 'she reads no database' refuses 'ermission denied' inside runuser -u alice -- cat /var/lib/s2/bridge.db
chapter 'what that opens'
exposure fs-watcher 1.0
for service in cred-sync worker-cred-sync worker-keepalive; do exposure "$service" 1.5; done
exposure worker-fs-watcher 10
inside pkill -u alice sleep
