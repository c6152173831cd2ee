chapter 'agents that run in units'
inside sh -c 'printf "[Service]\nExecStart=/bin/sleep infinity\n" >/etc/systemd/system/claude@.service
  cp /etc/s2/s2-watchdog.env /srv/watchdog.env 2>/dev/null
  printf "S2_UNITS=claude@*.service\nS2_LOG_LEVEL=debug\n" >>/etc/s2/s2-watchdog.env
  systemctl daemon-reload && systemctl start claude@s2-worker-1 && systemctl restart s2-watchdog'
not_gone() { status_says '^s2-worker-1 ' && ! status_says '^s2-worker-1 *tests *gone'; }
heard() { inside journalctl -u s2-watchdog -o cat | grep -q "$1"; }
check 'the watchdog knows them, without any right of its own' within 15 heard '"agent":"s2-worker-1","process":"unit claude@s2-worker-1.service","state":"living"'
inside systemctl kill --signal KILL claude@s2-worker-1
check 'one that is killed is gone within 2 s' within 2 status_says '^s2-worker-1 *tests *gone'
check 'it is said why' heard 'unit claude@s2-worker-1.service: signal 9'
inside systemctl start claude@s2-worker-1
check 'one that is started again is not gone' within 3 not_gone
inside systemctl stop claude@s2-worker-1
check 'one that is stopped and forgotten is gone' within 3 status_says '^s2-worker-1 *tests *gone'

chapter 'units that may be started again'
inside sh -c 'printf "S2_UNITS_RESTART=yes\nS2_RESTART_AFTER=1s\n" >>/etc/s2/s2-watchdog.env && systemctl restart s2-watchdog && systemctl start claude@s2-worker-1'
check 'one lives' within 15 not_gone
inside systemctl kill --signal KILL claude@s2-worker-1
check 'a start that no rule allows is told as refused, with what to do' within 30 says 'claude@s2-worker-1.service of s2-worker-1 could not be started again: systemd refused it: .*polkit' inside s2 incident list
check 'and not as a restart' lacks 'agent restarted' inside journalctl -u s2-watchdog -o cat
inside systemctl start claude@s2-worker-1
check 'which is over when the unit was started by hand' within 30 lacks 'could not be started again' inside s2 incident list
# The rule that docs/operate.md shows.
mkdir -p "$root/etc/polkit-1/rules.d"
sed -n '/polkit\.addRule/,/^ *})/s/^    //p' "$here/docs/operate.md" >"$root/etc/polkit-1/rules.d/50-s2.rules"
check 'polkit has the rule' inside sh -c 'grep -q claude@ /etc/polkit-1/rules.d/50-s2.rules && systemctl restart polkit'
check 'one lives' within 15 not_gone
inside systemctl kill --signal KILL claude@s2-worker-1
check 'it is started again when it dies' within 60 eval 'heard "agent restarted" && inside systemctl is-active claude@s2-worker-1'
check 'other units are not for the watchdog' refuses 'authentication required\|Access denied' inside setpriv --reuid=s2 --regid=s2 --init-groups systemctl --no-ask-password stop s2-bridge
check 'nor is ending one' refuses 'authentication required\|Access denied' inside setpriv --reuid=s2 --regid=s2 --init-groups systemctl --no-ask-password stop claude@s2-worker-1
inside systemctl stop claude@s2-worker-1

chapter 'an engine whose socket belongs to a group'
cat >"$root/srv/engine.cjs" <<'END'
require('node:http').createServer(({ url }, answer) => {
  answer.setHeader('content-type', 'application/json')
  if (url.startsWith('/events')) return answer.flushHeaders()
  require('node:fs').writeFileSync('/run/engine.asked', url)
  answer.end('[]')
}).listen('/run/engine.sock')
END
inside sh -c 'groupadd --force docker && systemd-run --quiet --unit=engine node /srv/engine.cjs && sleep 1 &&
  chgrp docker /run/engine.sock && chmod 660 /run/engine.sock && mkdir -p /etc/systemd/system/s2-watchdog.service.d &&
  printf "[Service]\nSupplementaryGroups=docker\n" >/etc/systemd/system/s2-watchdog.service.d/engine.conf &&
  echo S2_DOCKER=unix:///run/engine.sock >>/etc/s2/s2-watchdog.env && systemctl daemon-reload && systemctl restart s2-watchdog'
check 'is asked by a watchdog whose drop-in gives it that group' within 10 inside test -e /run/engine.asked
inside sh -c 'systemctl stop engine; rm -rf /etc/systemd/system/s2-watchdog.service.d/engine.conf'
inside sh -c 'if [ -e /srv/watchdog.env ]; then mv /srv/watchdog.env /etc/s2/s2-watchdog.env; else rm /etc/s2/s2-watchdog.env; fi
  rm /etc/systemd/system/claude@.service && systemctl daemon-reload && systemctl restart s2-watchdog'
