# Folders that are elsewhere, installations that remember it, and two of them. The machine has none when this begins.
uninstall() { inside sh -c "cd /src && $* sh deploy/install.sh uninstall"; } # settings
unit_says() { inside systemctl cat s2-bridge | grep -q "$1"; }

chapter 'data on another disk'
inside sh -c 'mkdir -p /data && mount -t tmpfs -o size=200m tmpfs /data && mkdir /data/s2 && ln -s /data/s2 /var/lib/s2'
check 'the data folder may be a link' install_from /src
check 'to a folder that is made theirs' inside sh -c 'test "$(stat -c "%U %G %a" /data/s2)" = "s2 s2 750"'
check 'the services start' inside systemctl start s2-watchdog s2-cred-sync s2-keepalive
check 'a worker is prepared' inside s2 worker prepare 1 --role tests --out /root/of-92
check 'and the orchestrator is alive' within 10 status_says 'orchestrator.*alive'
check 'all of it there' inside test -e /data/s2/bridge.db
inside sh -c "systemctl disable --quiet --now s2-cred-sync; rm -r $units/s2-cred-sync.service*; sed -i '/cred-sync/d' /opt/s2/laid; systemctl daemon-reload"
check 'an upgrade from a release where an orchestrator issued no credentials' install_from /src
check 'starts what issues them, as the bridge runs' inside systemctl is-active s2-cred-sync
check 'and lets it start with the machine' inside test -L /etc/systemd/system/s2-orchestrator.target.wants/s2-cred-sync.service
check 'a backup is made' inside systemctl start s2-backup
check 'that disk is mounted before they start' inside sh -c 'systemctl show -p RequiresMountsFor s2-bridge | grep -w /data/s2'
check 'the units verify clean' verify
check 'uninstall says where the data are left' says 'data in /var/lib/s2, which is a link to /data/s2' uninstall
check 'a new installation finds them' install_from /src
check 'PURGE=1 names both' says 'removing /var/lib/s2, which is a link to /data/s2' uninstall PURGE=1
check 'and removes both' inside sh -c 'test ! -e /data/s2 && test ! -L /var/lib/s2'

chapter 'an installation remembers itself'
check 'one that lies elsewhere' install_from /src 'PREFIX=/srv/programs ETC=/etc/fleet/s2 STATE=/data/fleet BIN=/usr/bin'
check 'is upgraded without saying so' says 'is installed already' install_from /src
check 'its data are where they were' unit_says 'S2_STATE=/data/fleet$'
inside mkdir /data/fleet-worker
check 's2 health names the unit of a second half' refuses 'journalctl -u s2-worker-keepalive' inside env S2_STATE=/data/fleet-worker s2 health keepalive
inside rmdir /data/fleet-worker
check 'and its settings' unit_says '=-/etc/fleet/s2/s2.env'
check 'its services start' inside systemctl start s2-watchdog
check 'data elsewhere are refused' changes_nothing 'is installed with STATE=/data/fleet, and not /var/lib/s2' install_from /src STATE=/var/lib/s2
check 'so are units elsewhere' changes_nothing 'is installed with UNITS=' install_from /src UNITS=/etc/systemd/system
check 'a second one beside it' changes_nothing 'has the units and the command of the installation in /srv/programs' install_from /src PREFIX=/opt/s2
check 'one whose data lie in its' changes_nothing 'lies in what the installation in /srv/programs has' install_from /src 'PREFIX=/opt/s2 STATE=/data/fleet/more'
check 'one whose data are a link into its' changes_nothing 'lies in what the installation in /srv/programs has' inside sh -c 'ln -s /data/fleet /opt/link; cd /src && PREFIX=/opt/s2 STATE=/opt/link sh deploy/install.sh install; code=$?; rm /opt/link; exit $code'
check 'removed, it says how it is found again' says 'make install ETC=/etc/fleet/s2 STATE=/data/fleet' uninstall
check 'and is gone' inside sh -c 'test ! -e /srv/programs && test ! -e /usr/bin/s2 && test -e /data/fleet/bridge.db'
check 'found again' install_from /src 'ETC=/etc/fleet/s2 STATE=/data/fleet'
check 'it goes with all that is its own' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && test ! -e /data/fleet && test ! -e /etc/fleet/s2'

chapter 'two installations'
check 'one runs' eval 'install_from /src && inside systemctl start s2-watchdog s2-keepalive'
# As an older installer laid a second one, which asked less.
inside sh -c 'cd /src && DESTDIR=/srv/package ROLE=worker PREFIX=/opt/second ETC=/etc/second STATE=/data/second UNITS=/usr/local/lib/second BIN=/opt/second/bin sh deploy/install.sh install >/dev/null &&
  cp -R /srv/package/. / && rm -r /srv/package && mkdir -p /data/second/outbox && chown -R s2:s2 /data/second && echo /opt/second >>/var/lib/s2-installations'
check 'which of them is asked' refuses 'more than once: /opt/s2 /opt/second' uninstall PURGE=1
pids_before=$(pid_of bridge)
check 'the second goes with what is its own' uninstall 'PREFIX=/opt/second PURGE=1'
check 'all of it' none_of /opt/second /etc/second /data/second /usr/local/lib/second
check 'and nothing of the first' inside sh -c "test -e /var/lib/s2/bridge.db && test -e /etc/s2/s2.env && test -e $units/s2-bridge.service && id s2 && s2 --version"
check 'which runs on' test "$(pid_of bridge)" = "$pids_before"
check 'and is enabled' inside systemctl is-enabled s2-bridge s2-keepalive
check 'it is the only one again' uninstall PURGE=1
inside umount /data

chapter 'links to what is not ours'
inside sh -c 'mkdir -p /srv/homes/eve/.ssh /srv/web && touch /srv/homes/eve/.profile /srv/web/index'
linked() { # path target command…: with the path as that link, which goes afterwards
  inside rm -rf "$1" && inside ln -sfn "$2" "$1" && "${@:3}"
  set -- "$1" $?
  inside rm -f "$1" && return "$2"
}
check 'the data are not the whole machine' linked /var/lib/s2 / changes_nothing 'lie in one another' install_from /src
check 'nor what has a run in it, as /var' linked /var/lib/s2 /var changes_nothing "holds something that is not S2's" install_from /src
check 'nor a home' linked /var/lib/s2 /srv/homes/eve changes_nothing "holds something that is not S2's" install_from /src
check 'the settings are not those of others' linked /etc/s2 /srv/web changes_nothing "holds something that is not S2's" install_from /src
for target in / /var /srv/homes/eve; do
  check 'an installation' install_from /src
  check "whose data have become $target leaves that with PURGE=1" linked /var/lib/s2 "$target" says 'with settings and data, but not /var/lib/s2' uninstall PURGE=1
done
check 'an installation' install_from /src
check 'leaves what its settings have become' linked /etc/s2 /srv/web says 'with settings and data, but not /etc/s2' uninstall PURGE=1
check 'all of it is there' inside test -e /srv/homes/eve/.profile -a -e /srv/web/index -a -d /var/log
