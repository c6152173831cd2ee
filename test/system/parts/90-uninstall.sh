chapter 'uninstall'
inside systemctl enable --quiet s2-fs-watcher
inside systemctl --quiet add-wants multi-user.target s2-keepalive.service
nothing_enabled() { inside sh -c 'test -z "$(find /etc/systemd/system -name "s2-*" ! -type d)"'; }
check 'uninstall leaves the data' inside sh -c 'cd /src && sh deploy/install.sh uninstall && test -e /var/lib/s2/bridge.db && ! test -e /opt/s2'
check 'and no unit' none_of '/usr/local/lib/systemd/system/s2-*'
check 'nor what started one, whoever enabled it' nothing_enabled
check 'a new installation finds it' install_from /src
check 'PURGE=1 removes that too' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && ! test -e /var/lib/s2 && ! test -e /etc/s2 && ! test -e /var/lib/s2-installations'
check 'with the user, whose nothing is any more' refuses 'no such user' inside id s2
check 'and no link' nothing_enabled
