told() { inside journalctl -u s2-watchdog --since "@$began_at" | grep -q "$1"; } # words

told_as_error() { inside journalctl -u "s2-$1" -p err --since "@$began_at" -o cat | grep -q "$2"; } # service words
no_errors() { [ -z "$(inside journalctl -q -u "s2-$1" -p err --since "@$began_at" -o cat)" ]; }     # service

chapter 'errors stand out in the journal'
began_at=$(inside date +%s)
inside systemctl restart s2-bridge
check 'a start that goes well leaves none there' no_errors bridge

chapter 'who fails for good is not dead in silence'
began_at=$(inside date +%s)
inside sh -c 'mkdir -p /run/systemd/system/s2-keepalive.service.d && printf "[Service]\nExecStartPre=/bin/false\n" >/run/systemd/system/s2-keepalive.service.d/99-test.conf && systemctl daemon-reload'
inside systemctl restart --no-block s2-keepalive
check 'one that falls again and again is an incident' within 300 says 's2-keepalive has failed' inside s2 incident list
inside sh -c 'rm /run/systemd/system/s2-keepalive.service.d/99-test.conf && systemctl daemon-reload'
mended_at=$(date +%s)

inside sh -c 'mv /etc/s2/s2-bridge.env /etc/s2/kept 2>/dev/null; echo S2_RATE=many >/etc/s2/s2-bridge.env'
inside systemctl restart s2-bridge >/dev/null 2>&1
check 'wrong settings: the bridge waits for a human' within 10 inside systemctl is-failed s2-bridge
check 'the journal has that among its errors, every line of it' eval 'told_as_error bridge "wrong settings" && told_as_error bridge "^  S2_RATE="'
check 'and there is an incident, without a bridge' within 10 says 's2-bridge has failed: its settings are wrong' inside s2 incident list
check 'of which the watchdog tells' within 20 told 'incident opened.*s2-bridge has failed'
check 'as an error, whose JSON is whole' told_as_error watchdog '^{.*"event":"incident opened".*}$'
check 'one, however often it fails' inside sh -c 'systemctl restart s2-bridge; sleep 2; test "$(s2 incident list | grep -c s2-bridge)" = 1'
inside sh -c 'rm /etc/s2/s2-bridge.env; mv /etc/s2/kept /etc/s2/s2-bridge.env 2>/dev/null'
check 'the settings are mended' inside systemctl start s2-bridge
check 'which ends the incident' within 60 lacks 's2-bridge has failed' inside s2 incident list
check 'and is told' within 20 told 'incident closed.*s2-bridge'

check 'who fell again and again is started when it can live' within $((mended_at + 90 - $(date +%s))) inside systemctl is-active s2-keepalive
check 'which ends that incident' within 60 lacks 's2-keepalive has failed' inside s2 incident list
exposure failed@s2-bridge 1.5
