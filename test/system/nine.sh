#!/bin/bash
# Nine machines that share nothing but a network, and one with a git server: network, mount, process and host name spaces of
# their own, each with a disk of its own, and a router between them that loses what it is told to lose. The fleet runs on
# them by its real programs and its default times while they are cut off, killed and suspended. `--json FILE` keeps the table.
set -u

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
# shellcheck source=test/system/checks.sh
. "$here/checks.sh"

needs_root 'making machines out of name spaces'
needs util-linux unshare nsenter pivot_root
needs iproute2 ip
needs iptables iptables
needs git git
needs procps pkill
[ -e "$project/dist/.stamp" ] || cannot 'the programs are not built: make build'

world=''
end_world() { # with its first process ends all that was started, mounted or linked there
  [ -z "$world" ] || { pkill -KILL -P "$world" && wait "$world"; } 2>/dev/null
}
take_folder nine end_world

unshare --net iptables -A FORWARD -m statistic --mode random --probability 0.2 -j DROP 2>"$work/why" ||
  cannot "this kernel gives no network name space with iptables: $(head -n 1 "$work/why")"
node=$(. "$project/deploy/env.sh" 2>/dev/null && command -v node)

setpriv --pdeathsig KILL unshare --mount --net --pid --ipc --fork --kill-child --mount-proc --propagation private \
  "$node" "$here/nine/main.ts" "$work" "$@" &
world=$!
wait "$world"
