chapter 'reboot'
stop_machine
check 'the machine boots again' boot
check 'everything is back by itself' within 20 inside systemctl is-active s2-bridge s2-watchdog s2-keepalive
check 'with the conversation it had' within 10 status_says 's2-worker-1'
