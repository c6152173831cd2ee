chapter 'what is wrong is said, and changes nothing'
check 'a ROLE that is none' refuses 'ROLE=boss is not known' install_from /src ROLE=boss
check 'a prefix that belongs to others' refuses 'holds something that is not S2' install_from /src PREFIX=/usr
check 'a prefix that cannot be written' refuses 'cannot be written' install_from /src PREFIX=/proc/s2
check 'nothing was installed' test ! -e "$root/etc/s2"

chapter 'install'
check 'make install lays everything' install_from /src
check 'again changes nothing' install_from /src
check 'the units verify clean' inside sh -c 'systemd-analyze verify /etc/systemd/system/s2-*.service /etc/systemd/system/s2-*.target 2>&1 | tee /dev/stderr | { ! grep -q .; }'
