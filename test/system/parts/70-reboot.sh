# With the mail of part 50 still under way.
back_from() { # name
  check "$1" boot
  check 'everything is back by itself' within 20 inside systemctl is-active s2-bridge s2-watchdog s2-cred-sync s2-keepalive s2-worker-cred-sync s2-worker-keepalive
  check 'with the conversation it had' within 10 status_says 's2-worker-1'
  check 'mail flows again' mail_goes_on
  check 'on and on' within 30 taken_are $(($(taken) + 5))
}

chapter 'reboot'
check 'mail flows' within 30 taken_are $(($(taken) + 5))
stop_machine
back_from 'the machine boots again'
kill -KILL "$leader"
wait "$nspawn"
back_from 'a machine that was cut off boots again'
inside touch /srv/mail/stop
check 'every message that was taken came, and came once' within 30 all_came_once
git_server
