chapter 'what dies comes back'
for service in bridge watchdog keepalive; do
  old=$(pid_of "$service")
  inside kill -9 "$old"
  check "s2-$service is back within 3 s of kill -9" within 3 is_another "$service" "$old"
done
check 'the fleet is whole again' within 10 status_says 'orchestrator.*alive'
old=$(pid_of watchdog)
inside kill -STOP "$old"
check 's2-watchdog that stands still is ended and back within 40 s' within 40 is_another watchdog "$old"
