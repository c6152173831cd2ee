# A database that the Python bridge of another user shares: where it may lie, who may write it. The machine has no S2 when this begins.
base=/srv/bridge/bridge.db
has_python() { inside python3 -c 'import sqlite3' || chroot "$root" sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3'; }
python_bridge() { # call: what the tool of carol's bridge answers to it
  inside runuser -u carol -- sh -c 'echo "$1" | python3 /src/test/core/store/python-bridge.py '"$base" sh "$1" | tail -n 1
}
store_is() { inside sh -c "sed -i '/^S2_STORE=/d' /etc/s2/s2.env && echo 'S2_STORE=sqlite:$1' >>/etc/s2/s2.env"; } # path
journal_has() { inside journalctl -o cat -u s2-bridge | grep -q "$1"; } # words
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1; } # name

chapter 'beside the Python bridge of another user'
must 'the machine has Python' has_python
must 'S2 is installed' install_from /src ROLE=orchestrator
must 'carol is a user of her own' inside sh -c 'useradd --create-home --shell /bin/sh carol && groupadd bridge'
for path in /tmp/agent_bridge_secure.db /var/tmp/bridge.db /home/carol/bridge.db; do
  store_is "$path"
  check "a database at $path is refused" refuses 'S2_STORE=.*lies where the services are not let in' install_from /src
done
store_is "$base"
check 'so is one whose folder is missing, with what makes it' refuses 'next: mkdir -p /srv/bridge; chgrp GROUP' install_from /src
inside install -d -o carol -g carol /srv/bridge
check 'and one in a folder that carol alone may write' refuses 'cannot be written by s2' install_from /src
inside sh -c 'usermod -aG bridge s2; usermod -aG bridge carol; chgrp bridge /srv/bridge; chmod 2770 /srv/bridge'
check 'carol’s bridge makes it' python_bridge '{"tool": "create_conversation", "arguments": {"my_role": "orchestrator", "partner_role": "worker-3-tests"}}'
check 'a folder that both may write is let in' install_from /src
check 'by the units that use it' inside sh -c 'for unit in bridge watchdog fs-watcher cred-sync backup; do systemctl show -p ReadWritePaths s2-$unit | grep -q /srv/bridge || exit 1; done'
check 'and by no other' refuses 0 inside sh -c 'systemctl show -p ReadWritePaths s2-keepalive | grep -c /srv/bridge'
inside systemctl start s2-bridge 2>/dev/null
check 'what carol alone may write is refused by the bridge, with the way out' within 20 journal_has 'belongs to another user and may not be written by user s2'
check 'nothing of S2 lies beside it' test "$(inside ls /srv/bridge)" = bridge.db
check 'carol’s bridge goes on' python_bridge '{"tool": "create_conversation", "arguments": {"my_role": "a", "partner_role": "b"}}'
inside chmod 660 "$base"
inside systemctl reset-failed s2-bridge
check 'with the group’s right to write' inside systemctl start s2-watchdog s2-cred-sync s2-keepalive
check 'the bridge works' within 20 inside s2 health bridge

made=$(inside s2 conversation create --role-b tests --agent-b python-agent --show-tokens --json)
id=$(echo "$made" | field id) token=$(echo "$made" | field b)
call="\"conversation_id\": \"$id\", \"session_id\": \"b\", \"token\": \"$token\""
check 'S2 sends' inside s2 send "$id" 'word from S2'
check 'and carol’s agent has it' within 10 says 'word from S2' python_bridge "{\"tool\": \"check_messages\", \"arguments\": {$call}}"
check 'carol’s agent sends' says '"id"' python_bridge "{\"tool\": \"send_to_partner\", \"arguments\": {$call, \"message\": \"word from Python\"}}"
check 'and S2 has it' within 5 says 'word from Python' inside s2 check
check 'what lies beside it is the group’s' test "$(inside sh -c 'stat -c "%G %a" /srv/bridge/* | sort -u')" = 'bridge 660'
check 'a backup is made' inside systemctl start s2-backup

chapter 'a database in a /tmp that the service has for itself'
inside runuser -u carol -- python3 /src/test/core/store/python-bridge.py /tmp/bridge.db </dev/null >/dev/null
store_is /tmp/bridge.db
inside systemctl restart s2-bridge 2>/dev/null
check 'written into the settings by hand, it is refused by the bridge' within 20 journal_has 'lies in /tmp, and this service has a /tmp of its own'
inside sh -c "sed -i '/^S2_STORE=/d' /etc/s2/s2.env"
check 'without S2_STORE the folder is let in no more' eval 'install_from /src && ! inside sh -c "systemctl cat s2-bridge | grep /srv/bridge"'
check 'and the bridge works' eval 'inside systemctl reset-failed s2-bridge; inside systemctl restart s2-bridge && within 20 inside s2 health bridge'
check 'it goes' inside sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall && test -e /srv/bridge/bridge.db'
inside sh -c 'userdel -r carol; groupdel bridge; rm -rf /srv/bridge /tmp/bridge.db*' 2>/dev/null
