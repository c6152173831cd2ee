# Guarded commands of a person's own agent, in the sandbox that the person's service manager gives.
as_gus() { inside runuser -u gus -- env HOME=/home/gus XDG_RUNTIME_DIR="/run/user/$gus" PATH=/node:/usr/bin:/bin S2_STATE=/home/gus/state S2_GUARD=on S2_GUARD_FOLDER=/home/gus/work "$@"; }
guarded() { as_gus env GUARD_TOKEN="$token" node /src/dist/s2.js guard run -- "$@"; }
allow() { # mode: the person types the words, the agent redeems the code
  local code
  code=$(as_gus sh -c "(sleep 2; echo 'run commands in $1 mode') | script -qec 'node /src/dist/s2.js guard enable --mode $1' /dev/null" | tr -d '\r' | grep -oE '^[A-Z0-9]{5}-[A-Z0-9]{5}$') &&
    token=$(echo "$code" | as_gus node /src/dist/s2.js guard redeem) && [ -n "$token" ]
}

chapter 'guarded commands'
inside sh -c 'useradd --create-home --shell /bin/sh gus && loginctl enable-linger gus && mkdir -p /data && echo SECRET >/data/secret && chmod 600 /data/secret && chown -R gus /data'
gus=$(inside id -u gus)
check 'the bus of the person answers' within 10 as_gus systemctl --user is-active dbus.socket
as_gus sh -c 'mkdir -p /home/gus/work && cd /src && node --input-type=module --eval "
  import { publishCredential } from \"/src/services/core/spool/credentials.ts\"
  const at = Date.now()
  await publishCredential(\"/home/gus/state\", { session: \"conv_0123456789abcdef/b\", token: \"x\".repeat(64), agent: \"s2-worker-1\", role: \"tests\", bridgeUrl: \"http://127.0.0.1:7433\", createdAt: at, expiresAt: at + 3600000 })"' >/dev/null
check 'a person allows it, and the agent has a token' allow open
check 'a command works in its folder' eval 'guarded touch here && inside ls /home/gus/work/here'
check 'it reads no file of its user elsewhere' refuses 'No such file' guarded cat /data/secret
check 'nor the state folder' refuses 'No such file' guarded cat /home/gus/state/guard/log
check 'it writes no file of the system' refuses 'Read-only' guarded touch /usr/made
inside runuser -u gus -- sh -c 'sleep 600 >/dev/null 2>&1 & echo $! >/home/gus/work/victim'
victim=$(inside cat /home/gus/work/victim)
check 'it ends no process of its user' refuses 'No such process' guarded kill -9 "$victim"
check 'which lives' inside kill -0 "$victim"
inside kill "$victim"
check 'it has no network' says '^1$' guarded perl -e 'open F, "/proc/net/dev"; @l = grep /:/, <F>; print scalar(@l), "\n"'
check 'and no word of its environment' lacks 'GUARD_TOKEN\|S2_' guarded env
check 'all of it is written down' inside sh -c 'test "$(grep -c "\"action\":\"started\"" /home/gus/state/guard/log)" -ge 7'
check 'safe mode reads, and writes nothing' eval 'allow safe && guarded cat here && refuses "safe mode has no touch" guarded touch there'
inside loginctl disable-linger gus
