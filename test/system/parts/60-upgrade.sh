chapter 'upgrades'
make_next
before=$(readlink "$root/opt/s2/current")
sed -i '1s/^/throw new Error("broken")\n/' "$root/srv/next/dist/watchdog.js"
check 'a version that does not get ready is rolled back' refuses 'rolled back' install_from /srv/next
check 'the old version is in force' test "$(readlink "$root/opt/s2/current")" = "$before"
check 'and everything runs' inside systemctl is-active s2-bridge s2-watchdog s2-keepalive
cp "$here/dist/watchdog.js" "$root/srv/next/dist/watchdog.js"
printf '\n// next\n' >>"$root/srv/next/dist/watchdog.js"
check 'a good one is taken' install_from /srv/next
check 'and is in force' test "$(readlink "$root/opt/s2/current")" != "$before"
check 'with the data kept' within 10 status_says 's2-worker-1'
