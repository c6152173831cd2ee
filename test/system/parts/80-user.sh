# Without root: the services of a person's own, beside those of the host. The person's service manager is the real one.
as_bob() { inside runuser -u bob -- env -u S2_STATE HOME=/home/bob XDG_RUNTIME_DIR="/run/user/$bob" PATH="/home/bob/.local/bin:/node:/usr/bin:/bin" "$@"; }
bobs_pid() { as_bob systemctl --user show -p MainPID --value "s2-$1"; }
bobs_is_another() {
  local now
  now=$(bobs_pid "$1")
  [ "$now" != 0 ] && [ "$now" != "$2" ] && as_bob systemctl --user is-active --quiet "s2-$1"
}
install_as_bob() { as_bob sh -c "cd '$1' && ${2:-} sh deploy/install.sh install-user"; }
bobs_tree() { inside sh -c 'cd /home/bob && find . \( -type f -exec sha256sum {} + , -printf "%p %m %g %l\n" \) | LC_ALL=C sort | sha256sum'; }
bob_is_refused() { # words command…
  local before
  before=$(bobs_tree)
  refuses "$@" && [ "$(bobs_tree)" = "$before" ]
}
verify_bobs() { as_bob sh -c 'systemd-analyze --user verify $(ls ~/.local/share/systemd/user/s2-*.service ~/.local/share/systemd/user/s2-*.target ~/.local/share/systemd/user/s2-*.timer 2>/dev/null | grep -v "@") 2>&1 | tee /dev/stderr | { ! grep -q .; }'; }

chapter 'for one person, without root'
inside useradd --create-home --shell /bin/sh bob
bob=$(inside id -u bob)
check 'without a service manager it says how to get one' bob_is_refused 'loginctl enable-linger bob' install_as_bob /src
inside loginctl enable-linger bob
check 'his service manager runs' within 10 as_bob systemctl --user show -p Version
inside runuser -u bob -- mkdir -p /home/bob/.config/s2
inside runuser -u bob -- sh -c 'echo S2_LISTN=127.0.0.1:7533 >/home/bob/.config/s2/s2.env'
check 'a wrong setting is found first' bob_is_refused 'did you mean S2_LISTEN' install_as_bob /src
inside runuser -u bob -- sh -c 'printf "S2_LISTEN=127.0.0.1:7533\nS2_BRIDGE_URL=http://127.0.0.1:7533\n" >/home/bob/.config/s2/s2.env'
check 'make install-user lays everything' install_as_bob /src
before=$(bobs_tree)
check 'again changes nothing' install_as_bob /src
check 'not a file' test "$(bobs_tree)" = "$before"
check 's2 init speaks of his own service manager' says 'systemctl --user enable' as_bob s2 init </dev/null
check 'the units verify clean' verify_bobs
check 'systemctl --user start s2-watchdog brings the bridge too' as_bob systemctl --user start s2-watchdog s2-cred-sync s2-keepalive
check 'all are ready' as_bob systemctl --user is-active s2-bridge s2-watchdog s2-cred-sync s2-keepalive
check 'a worker is prepared' as_bob s2 worker prepare 7 --role tests --out /home/bob/seven
check 'by keys that are his alone' inside sh -c 'test "$(stat -c "%U %a" /home/bob/seven)" = "bob 600"'
check 'and the orchestrator is alive' within 10 as_bob sh -c 's2 status | grep "orchestrator.*alive"'
check 'nobody else reads the state' inside sh -c 'test -z "$(find /home/bob/.local/state/s2 -perm /007 ! -type l | head)"'
old=$(bobs_pid bridge)
inside kill -9 "$old"
check 's2-bridge is back within 3 s of kill -9' within 3 bobs_is_another bridge "$old"
inside runuser -u bob -- sh -c 'echo "S2_WAKE=cat >>~/woken; ls ~ >>~/woken" >/home/bob/.config/s2/s2-fs-watcher.env'
check 'the watcher starts' as_bob systemctl --user enable --now s2-fs-watcher
conversation=$(as_bob s2 conversation list --json | sed -n 's/.*"id": "\(conv_[0-9a-f]*\)".*/\1/p')
check 'mail comes for the orchestrator' as_bob s2 send orchestrator 'done' --from "$conversation/b"
check 'which is woken, with all that is his' within 5 inside grep -qs '^woken$' /home/bob/woken
check 'his services end with his manager' inside systemctl stop "user@$bob"
inside systemctl start "user@$bob"
check 'everything is back by itself' within 20 as_bob systemctl --user is-active s2-bridge s2-watchdog s2-cred-sync s2-keepalive s2-fs-watcher
check 'with the conversation it had' within 10 as_bob sh -c 's2 status | grep s2-worker-7'
make_next
printf '\n// next\n' >>"$root/srv/next/dist/watchdog.js"
old=$(bobs_pid bridge)
check 'an upgrade is taken' install_as_bob /srv/next
check 'and leaves alone what is the same' test "$(bobs_pid bridge)" = "$old"
check 'it becomes a worker too' install_as_bob /srv/next ROLE=both
check 'the units verify clean' verify_bobs
check 'whose half starts' as_bob systemctl --user start s2-worker-keepalive
check 'with a folder of its own' as_bob sh -c 'test -d ~/.local/state/s2-worker/inbox && s2-worker check && test "$(stat -c %a ~/.local/state/s2-worker)" = 700'
check 'uninstall leaves the data' as_bob sh -c 'cd /src && sh deploy/install.sh uninstall-user && test -e ~/.local/state/s2/bridge.db && ! test -e ~/.local/opt/s2 && ! test -e ~/.local/bin/s2'
check 'and no unit' as_bob sh -c '! ls ~/.local/share/systemd/user/s2-* 2>/dev/null && test -z "$(systemctl --user list-units --all --plain --no-legend "s2-*")"'
check 'a new installation finds it' install_as_bob /src
check 'PURGE=1 removes that too' as_bob sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall-user && ! test -e ~/.local/state/s2 && ! test -e ~/.config/s2'
inside loginctl disable-linger bob
