# Mail that flows while things break: the worker's end says numbers, one after the other, until it is told to stop. What it
# was told is taken, it notes; it goes on where it was when the machine has been down.
mail_script='
n=$(cat /srv/mail/next 2>/dev/null || echo 1)
while [ ! -e /srv/mail/stop ]; do
  if s2-worker send orchestrator "mail-$n-end" --key "mail-$n" >/srv/mail/last 2>&1; then
    echo "mail-$n-end" >>/srv/mail/taken
    n=$((n + 1)); echo $n >/srv/mail/next.part; mv /srv/mail/next.part /srv/mail/next
  fi
  sleep 0.2
done'
mail_begins() {
  inside sh -c 'mkdir -p /srv/mail && rm -f /srv/mail/*'
  inside systemd-run --quiet --collect --unit=test-mail --setenv=PATH=/usr/local/bin:/usr/bin:/bin sh -c "$mail_script"
}
mail_goes_on() { inside systemd-run --quiet --collect --unit=test-mail --setenv=PATH=/usr/local/bin:/usr/bin:/bin sh -c "$mail_script"; }
taken() { inside sh -c 'cat /srv/mail/taken 2>/dev/null | wc -l'; }
taken_are() { [ "$(taken)" -ge "$1" ]; }
# Takes what has come out of the orchestrator's inbox, acks it, and keeps it.
mail_is_read() { inside sh -c 's2 check --limit 1000 --json >>/srv/mail/read'; }
all_came_once() {
  local once twice
  mail_is_read
  once=$(inside sh -c 'grep -o "mail-[0-9]*-end" /srv/mail/read | sort -u | wc -l')
  twice=$(inside sh -c 'grep -o "mail-[0-9]*-end" /srv/mail/read | sort | uniq -d')
  [ -z "$twice" ] || { echo "came twice: $twice"; return 1; }
  inside sh -c 'sort -u /srv/mail/taken >/srv/mail/a; grep -o "mail-[0-9]*-end" /srv/mail/read | sort -u >/srv/mail/b; comm -23 /srv/mail/a /srv/mail/b' >"$work/lost"
  [ ! -s "$work/lost" ] || { echo "$(wc -l <"$work/lost") did not come, the first of them: $(head -n 5 "$work/lost" | tr '\n' ' ')"; return 1; }
  echo "$once came"
}

chapter 'the bridge is killed while mail flows'
inside sh -c 'echo S2_RATE=6000 >>/etc/s2/s2-bridge.env && systemctl restart s2-bridge' # more than people say in a minute
check 'mail flows' mail_begins
check 'some' within 30 taken_are 5
for _ in 1 2 3; do
  old=$(pid_of bridge)
  inside kill -9 "$old"
  check 'the bridge is back within 3 s of kill -9' within 3 is_another bridge "$old"
done
check 'mail flows on' within 30 taken_are $(($(taken) + 5))
