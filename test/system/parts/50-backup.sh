backups() { inside s2 backup list --json | grep -c '"path"'; }
no_incident() { inside s2 incident list | grep -q 'no incident is open'; }
gone() { inside s2 restore --latest | tee "$work/gone" | grep -q "$1"; } # words

chapter 'backup and restore'
check 'the timer waits since the bridge runs' inside systemctl is-active s2-backup.timer
check 'and comes back with the machine' inside systemctl is-enabled s2-backup.timer
check 'it makes a backup' inside systemctl start s2-backup
check 'one that is listed' test "$(backups)" = 1
check 'and readable by nobody else' inside sh -c 'test "$(stat -c "%U %a" /var/lib/s2/backups)" = "s2 700" && test "$(stat -c "%U %a" /var/lib/s2/backups/*.db)" = "s2 600"'
exposure backup 1.0
check 'a message is sent after it' inside s2 send s2-worker-1 'sent after the backup'
check 'nothing is restored beneath a living bridge' refuses 'bridge.db is in use by' inside s2 restore --latest
check 'the services are stopped' inside systemctl stop s2-bridge s2-watchdog s2-fs-watcher s2-keepalive
check 'now it is restored, and said what is gone' gone 'gone: 1 message'
check 'the services start' inside sh -c 'systemctl start s2-watchdog s2-keepalive; test ! -e /etc/s2/s2-fs-watcher.env || systemctl start s2-fs-watcher'
check 'and the orchestrator is alive' within 15 status_says 'orchestrator.*alive'
check 'the audit chain goes on' inside systemctl start s2-backup
inside sh -c 'echo S2_BACKUPS=/dev/null/here >/etc/s2/s2-backup.env'
check 'a backup that cannot be made fails' refuses 's2-backup' inside systemctl start s2-backup
check 'which is an incident' within 10 says 's2-backup has failed' inside s2 incident list
check 'the earlier ones are there' inside sh -c 'test "$(ls /var/lib/s2/backups/*.db | wc -l)" = 2'
inside rm /etc/s2/s2-backup.env
check 'the next one' inside systemctl start s2-backup
check 'ends the incident' within 5 lacks s2-backup inside s2 incident list
