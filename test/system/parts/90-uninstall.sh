chapter 'uninstall'
check 'uninstall leaves the data' inside sh -c 'cd /src && sh deploy/install.sh uninstall && test -e /var/lib/s2/bridge.db && ! test -e /opt/s2'
check 'and no unit' inside sh -c '! ls /etc/systemd/system/s2-* /usr/local/lib/systemd/system/s2-* 2>/dev/null'
check 'a new installation finds it' install_from /src
check 'PURGE=1 removes that too' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && ! test -e /var/lib/s2 && ! test -e /etc/s2'
