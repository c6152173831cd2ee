units=/usr/local/lib/systemd/system

# All that an installation might touch, as one line: names, modes, owners, contents.
tree_print() {
  inside sh -c 'cd / && find etc opt usr/local var/lib home srv/full -xdev -not -path "var/lib/systemd/*" -not -path "var/lib/dpkg/*" -not -path "var/lib/apt/*" \( -type f -exec sha256sum {} + , -printf "%p %m %u %g %l\n" \) | LC_ALL=C sort | sha256sum'
}
changes_nothing() { # words command…: it is refused with these words, and not a file is another
  local before
  before=$(tree_print)
  refuses "$@" || return
  [ "$(tree_print)" = "$before" ] || { echo 'it was refused, but something was changed'; return 1; }
}
as_wsl() { # osrelease systemd-folder settings: an installation on what looks like WSL
  inside sh -c "mkdir -p /run/test && echo '$1' >/run/test/osrelease"
  install_from /src "OSRELEASE=/run/test/osrelease SYSTEMD=$2 WSL_DISTRO_NAME=Debian ${3:-}"
}

chapter 'what is wrong is said, and changes nothing'
inside sh -c 'mkdir -p /srv/full /srv/readonly /etc/s2 && mount -t tmpfs -o size=20m tmpfs /srv/full && mount -t tmpfs -o ro tmpfs /srv/readonly'
check 'a ROLE that is none' changes_nothing 'ROLE=boss is not known' install_from /src ROLE=boss
check 'a prefix that belongs to others' changes_nothing 'holds something that is not S2' install_from /src PREFIX=/usr
check 'a prefix where no service is let in' changes_nothing 'lies where the services are not let in' install_from /src PREFIX=/home/s2
check 'data where no service is let in' changes_nothing 'lies where the services are not let in' install_from /src STATE=/home/s2
inside sh -c 'mkdir -m 700 /srv/closed; mkdir -p /srv/others && touch /srv/others/thing'
check 'or below a folder that is closed to them' changes_nothing '/srv/closed is closed' install_from /src STATE=/srv/closed/s2
check 'settings below a closed folder' changes_nothing '/srv/shut is closed' inside sh -c 'mkdir -m 700 /srv/shut; cd /src; ETC=/srv/shut/s2 sh deploy/install.sh install; code=$?; rmdir /srv/shut; exit $code'
check 'a prefix that is closed itself' changes_nothing '/srv/shut is closed' inside sh -c 'mkdir -m 700 /srv/shut; cd /src; PREFIX=/srv/shut sh deploy/install.sh install; code=$?; rmdir /srv/shut; exit $code'
check 'a data folder of somebody else' changes_nothing "holds something that is not S2's" install_from /src STATE=/srv/others
check 'a settings folder of somebody else' changes_nothing "/etc holds something that is not S2's" install_from /src ETC=/etc
check 'data within the programs' changes_nothing 'lie in one another' install_from /src STATE=/opt/s2/data
inside ln -s /srv/nowhere /var/lib/s2
check 'a link to a disk that is not there' changes_nothing 'is a link to /srv/nowhere, which is not there' install_from /src
inside sh -c 'mkdir /home/s2 && ln -sfn /home/s2 /var/lib/s2'
check 'a link to where no service is let in' changes_nothing 'a link to /home/s2) lies where the services are not let in' install_from /src
inside sh -c 'rm /var/lib/s2; rmdir /home/s2'
check 'a path that would be cut in two' changes_nothing 'cannot be used' install_from /src "PREFIX='/opt/s 2'"
check 'a prefix that cannot be written' changes_nothing 'cannot be written' install_from /src PREFIX=/srv/readonly/s2
check 'a disk that is too small' changes_nothing 'kB are free' install_from /src PREFIX=/srv/full/s2
inside sh -c 'mkdir -p /srv/tiny && mount -t tmpfs -o size=500k tmpfs /srv/tiny'
check 'a full disk where the settings lie' changes_nothing 'kB are free at /srv/tiny' install_from /src ETC=/srv/tiny/s2
check 'settings that are a file' changes_nothing 'cannot be written' install_from /src ETC=/etc/hostname
check 'units that cannot be written' changes_nothing 'cannot be written' install_from /src UNITS=/srv/readonly/units
check 'units where systemd looks for none' changes_nothing 'looks for no units in /srv/units' install_from /src UNITS=/srv/units
check 'a copy that fails half-way' changes_nothing 'could not be copied' inside sh -c 'cd /src && ulimit -f 20000 && sh deploy/install.sh install'
check 'an agent that is nobody' changes_nothing 'there is no user nobody-here' install_from /src 'ROLE=worker AGENT=nobody-here'
inside sh -c 'useradd --system --home-dir /srv/other s2'
check 'a user of that name who is somebody else' changes_nothing 'the user s2 is somebody else' install_from /src
inside sh -c 'userdel s2; useradd --system --home-dir /var/lib/s2 --no-create-home --gid users s2'
check 'one whose group others are in' changes_nothing 'the user s2 has the group users' install_from /src
inside sh -c 'userdel s2; groupadd s2'
check 'a group of that name without the user' changes_nothing 'there is a group s2 and no such user' install_from /src
inside groupdel s2
fails() { # command words: an installation in which that command fails when it is called with these words
  inside sh -c 'mkdir -p /srv/cut && rm -f /srv/cut/* && printf "#!/bin/sh\ncase \"\$*\" in *\"$2\"*) exit 1 ;; esac\nPATH=\${PATH#*:} exec $1 \"\$@\"\n" >"/srv/cut/$1" && chmod +x "/srv/cut/$1"
    cd /src && PATH=/srv/cut:$PATH sh deploy/install.sh install' sh "$1" "${2:-}"
}
check 'a user that cannot be made' changes_nothing 'the user s2 cannot be made' fails useradd
check 'whatever else ends it early' changes_nothing 'what is installed is as it was' fails mv
inside sh -c "mkdir -p $units && echo '[Service]' >$units/s2-bridge.service"
check 'a unit of that name from elsewhere' changes_nothing 's2-bridge.service is there and is not from S2' install_from /src
inside sh -c "mv $units/s2-bridge.service /etc/systemd/system/ && systemctl daemon-reload"
check 'one that would win over ours' changes_nothing '/etc/systemd/system/s2-bridge.service is there and is not from S2' install_from /src
inside sh -c "mv /etc/systemd/system/s2-bridge.service $units/s2-orchestrator.target && systemctl daemon-reload"
check 'a target' changes_nothing 's2-orchestrator.target is there and is not from S2' install_from /src
inside sh -c "rm $units/s2-orchestrator.target && systemctl daemon-reload"
inside sh -c 'mkdir -p /usr/local/bin && echo "#!/bin/sh" >/usr/local/bin/s2'
check 'a command of that name from elsewhere' changes_nothing 'is another program' install_from /src
inside mv /usr/local/bin/s2 /usr/local/bin/s2-worker
check 'the other command' changes_nothing 's2-worker is there and is another program' install_from /src ROLE=both
inside rm /usr/local/bin/s2-worker
inside sh -c 'echo S2_SILENT_AFTR=5m >/etc/s2/s2.env'
check 'a setting that is none' changes_nothing 'S2_SILENT_AFTR is not a setting; did you mean S2_SILENT_AFTER' install_from /src
inside sh -c 'echo S2_LISTEN=here >/etc/s2/s2.env'
check 'a setting with a wrong value' changes_nothing 'S2_LISTEN="here" must be host:port' install_from /src
inside sh -c 'echo "S2_LISTEN 127.0.0.1:7433" >/etc/s2/s2.env'
check 'a line that is no setting' changes_nothing 's2.env:1: not a line of the form NAME=value' install_from /src
inside sh -c 'rm /etc/s2/s2.env; echo S2_RATE=many >/etc/s2/s2-bridge.env'
check 'the same in the file of one service' changes_nothing 'S2_RATE="many" must be a whole number' install_from /src
inside sh -c 'rm /etc/s2/s2-bridge.env; echo S2_STATE=/srv/s2 >/etc/s2/s2.env'
check 'data elsewhere' changes_nothing 'sets S2_STATE' install_from /src
inside rm -r /etc/s2
check 'no systemd' changes_nothing 'run s2 up FLEET.json under the supervisor' install_from /src SYSTEMD=/nowhere
check 'WSL 1' changes_nothing 'wsl --set-version Debian 2' as_wsl 4.4.0-19041-Microsoft /nowhere
check 'WSL 2 without systemd' changes_nothing 'systemd=true" into /etc/wsl.conf' as_wsl 5.15.133.1-microsoft-standard-WSL2 /nowhere
check 'data on a drive of Windows' changes_nothing 'lies on a drive of Windows' as_wsl 5.15.133.1-microsoft-standard-WSL2 /run/systemd/system STATE=/mnt/c/s2
check 'somebody who is not root' changes_nothing 'wants root' inside setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'cd /src && sh deploy/install.sh install'
check 'root, for a person' changes_nothing 'root has no services of its own' inside sh -c 'cd /src && sh deploy/install.sh install-user'
check 'a removal of what is not there' changes_nothing 'is not installed' inside sh -c 'cd /src && sh deploy/install.sh uninstall'

chapter 'install'
cut_off_at() { # name checkout: an installation that is killed just before it would give a file that name
  inside sh -c 'mkdir -p /srv/cut && printf "#!/bin/sh\ncase \"\$*\" in */%s) kill -9 \$PPID; exit ;; esac\nexec /bin/mv \"\$@\"\n" "$1" >/srv/cut/mv && chmod +x /srv/cut/mv
    cd "$2" && PATH=/srv/cut:$PATH sh deploy/install.sh install' sh "$1" "$2" >"$work/cut" 2>&1
  grep -q 'installed\|upgraded' "$work/cut" && echo 'it was not cut off' && failed=$((failed + 1))
}
for command in chown chgrp ln 'systemctl daemon-reload' 'systemctl enable'; do
  # shellcheck disable=SC2086 # a command and its word
  check "when $command fails, it is said how it goes on" refuses 'goes on where this stopped' fails $command
done
cut_off_at laid /src
check 'after one that was cut off, make install lays everything' install_from /src
installed=$(tree_print)
check 'again changes nothing' install_from /src
check 'not a file' test "$(tree_print)" = "$installed"
verify() { inside sh -c "systemd-analyze verify ${1:-} \$(ls ${2:-$units}/s2-*.service ${2:-$units}/s2-*.target ${2:-$units}/s2-*.timer 2>/dev/null | grep -v '@') 2>&1 | tee /dev/stderr | { ! grep -q .; }"; }
check 'the units verify clean' verify
links_are_whole() { # what is enabled is asked for by a unit that is there
  inside sh -c 'for link in /etc/systemd/system/*.wants/s2-*; do test -e "$link" || exit; by=$(basename "${link%/*}" .wants); systemctl cat "$by" >/dev/null || exit; done'
}
check 'what is enabled is linked only into what is there' links_are_whole
check 'the folder of the data is there before a first start' inside sh -c 'test "$(stat -c "%U %G %a" /var/lib/s2)" = "s2 s2 750"'
check 'a worker over an orchestrator' changes_nothing 'this host is installed as: orchestrator' install_from /src ROLE=worker
check 'on WSL it tells how to keep that running' says 's2 init --wsl-task' as_wsl 5.15.133.1-microsoft-standard-WSL2 /run/systemd/system
check 'and the task is printed' says Register-ScheduledTask inside s2 init --wsl-task

chapter 'for a package'
packaged=$(tree_print)
check 'DESTDIR takes all of it' inside sh -c 'cd /src && umask 077 && DESTDIR="/srv/a package" ROLE=both sh deploy/install.sh install && test -x "/srv/a package/opt/s2/current/bin/node"'
check 'which all may read, save the settings' inside sh -c 'test -z "$(find "/srv/a package/opt" "/srv/a package/usr" ! -type l ! -perm -044)"'
check 'and it goes' inside sh -c 'cd /src && DESTDIR="/srv/a package" PURGE=1 sh deploy/install.sh uninstall && test -z "$(find "/srv/a package" -type f)"'
check 'and nothing else changes' test "$(tree_print)" = "$packaged"
inside sh -c 'mkdir -p /run/test && printf "#!/bin/sh\necho systemd 257\n" >/run/test/systemctl && chmod +x /run/test/systemctl'
check 'a systemd that knows rising delays gets them' inside sh -c "cd /src && PATH=/run/test:\$PATH DESTDIR=/srv/package sh deploy/install.sh install && grep RestartSteps /srv/package$units/s2-.service.d/*"
check 'and goes, but for its settings' inside sh -c 'cd /src && DESTDIR=/srv/package sh deploy/install.sh uninstall && test -z "$(find /srv/package -type f -not -path "*/etc/s2/*")"'
check 'a worker takes what is a worker’s' inside sh -c "cd /src && DESTDIR=/srv/package ROLE=worker AGENT=games PREFIX=/opt/worker UNITS=/usr/local/lib/worker sh deploy/install.sh install && cd /srv/package/usr/local/lib/worker && test ! -e s2-bridge.service && grep ^User=games s2-.service.d/15-half.conf"
inside sh -c 'mkdir -p /opt/worker && cp -R /srv/package/opt/worker/. /opt/worker/'
check 'its units verify clean' verify '' /srv/package/usr/local/lib/worker
inside rm -rf /srv/package /opt/worker
