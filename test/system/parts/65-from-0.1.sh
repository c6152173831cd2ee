# A fleet of version 0.1, both halves of a person's own, with what it has in hand: brought over to this version, back, and over.
# Version 0.1 is built from its commit, with the packages of now; a clone without history skips this.
first=e2ea3620b49ddee327f58648689aef718500f09c
as_olga() { inside runuser -u olga -- env -u S2_STATE HOME=/home/olga XDG_RUNTIME_DIR="/run/user/$olga" PATH="/home/olga/.local/bin:/node:/usr/bin:/bin" "$@"; }
install_as_olga() { as_olga sh -c "cd '$1' && ${2:-} sh deploy/install.sh install-user"; }
works_for_olga() { # unit command: the agent of her worker's half
  # The work program of 0.1 cannot renew a lease at this bridge: it shall outlast the upgrade, however slow the machine is.
  as_olga systemd-run --user --quiet --collect --unit="$1" --setenv=S2_LEASE=10m --setenv=PATH=/home/olga/.local/bin:/usr/bin:/bin s2-worker work --exec "$2"
}
build_first() {
  mkdir -p "$work/first" "$root/srv/first/node_modules" && git -C "$here" archive "$first" | tar -x -C "$work/first" &&
    ln -s "$here/node_modules" "$work/first/node_modules" && (cd "$work/first" && "$node" deploy/bundle.ts) || return
  cp -R "$work/first"/{dist,deploy,systemd,package.json,package-lock.json,docs,examples,LICENSE} "$work/first"/*.md "$root/srv/first/"
  cp -R "$root/srv/next/node_modules/." "$root/srv/first/node_modules/"
}
open_tasks() { as_olga s2 task list | grep -c "$1"; }
hers='/home/olga/.local/state/s2'
conversation() { as_olga s2 conversation list | sed -n 's/^\(conv_[0-9a-f]*\) .*/\1/p' | sed -n "$1p"; } # which
has_joined() { as_olga s2-worker health cred-sync && as_olga sh -c 's2 worker list | grep "s2-worker-2 .*joined"'; }
are_active() { as_olga systemctl --user is-active s2-bridge s2-watchdog s2-cred-sync s2-keepalive s2-worker-keepalive s2-worker-cred-sync; }

if ! git -C "$here" cat-file -e "$first^{commit}" 2>/dev/null; then
  chapter 'the upgrade from version 0.1: skipped, since its commit is not in this clone'
  return
fi
chapter 'from version 0.1'
make_next
check 'version 0.1 is built' build_first
inside sh -c 'useradd --create-home --shell /bin/sh olga && loginctl enable-linger olga'
olga=$(inside id -u olga)
check 'her service manager runs' within 10 as_olga systemctl --user show -p Version
inside runuser -u olga -- sh -c 'cd /home/olga && git init --quiet --bare --initial-branch=main fleet.git && mkdir -p .config/s2 && cd .config/s2 &&
  printf "S2_LISTEN=127.0.0.1:7633\nS2_BRIDGE_URL=http://127.0.0.1:7633\nS2_GIT_REMOTE=file:///home/olga/fleet.git\nS2_LEASE=10m\n" >s2.env && printf "S2_WORKER=2\nS2_GIT_POLL=1s\n" >s2-cred-sync.env'
# A keepalive that is stopped for a while below is not to be ended for that.
inside runuser -u olga -- sh -c 'cd /home/olga && mkdir -p .config/systemd/user/s2-worker-keepalive.service.d && printf "[Service]\nWatchdogSec=600\n" >.config/systemd/user/s2-worker-keepalive.service.d/patient.conf'
check 'and is installed' install_as_olga /srv/first ROLE=both
check 'it starts' as_olga systemctl --user start s2-watchdog s2-keepalive s2-worker-keepalive
check 'a worker is enrolled by a plain credential in git' as_olga s2 conversation create --role-b backend --number 2 --remote file:///home/olga/fleet.git
check 'and fetches it' eval 'as_olga systemctl --user start s2-cred-sync && within 15 inside sh -c "ls $hers-worker/credentials/*.json"'
check 'it lives' within 15 as_olga sh -c 's2 status | grep "s2-worker-2.*alive"'
as_olga s2 task add 'the one in hand' --role backend >/dev/null
works_for_olga work-first 'until test -e /home/olga/end; do sleep 0.3; done; echo finished'
check 'it has a task in hand' within 15 as_olga sh -c 's2 task list | grep "in_progress.*the one in hand"'
as_olga s2 task add 'the one that waits' --role backend --deadline 1h >/dev/null
check 'it has unread mail, and the orchestrator too' eval 'as_olga s2 send s2-worker-2 "unread there" && as_olga s2-worker send orchestrator "unread here" &&
  within 10 as_olga sh -c "s2 check --peek | grep \"unread here\"" && within 10 as_olga sh -c "s2-worker check --peek | grep \"unread there\""'
as_olga systemctl --user kill --signal=STOP s2-worker-keepalive
check 'and something in its outbox' says waiting as_olga s2-worker send orchestrator 'from the outbox'

sed -i '1s/^/throw new Error("broken")\n/' "$root/srv/next/dist/watchdog.js"
check 'a broken upgrade cannot go back: it stays, and says why' refuses 'stays in force, with all data; what does not start: s2-watchdog' install_as_olga /srv/next
check 'since version 0.1 does not read the tables any more' grep 'cannot start with .*changed the tables' "$work/said"
check 'all that can run runs' as_olga systemctl --user is-active s2-bridge s2-cred-sync s2-keepalive s2-worker-keepalive s2-worker-cred-sync
check 'a good one is taken then' install_as_olga /src
check 'and everything runs' are_active
check 'what 0.1 left is kept beside the database' inside ls "$hers/bridge.db.schema-1"
check 'it is said how the worker comes over' within 30 as_olga sh -c 's2 status | grep "s2 worker invite 2 --role backend here, and s2 worker join there"'
check 'its own host says so too' within 30 refuses 's2 worker join' as_olga s2-worker health cred-sync
check 'it lives, by the credential that it has' within 60 as_olga sh -c 's2 status | grep "s2-worker-2.*alive"'
check 'the outbox is sent' within 15 as_olga sh -c 's2 check --peek | grep "from the outbox"'
check 'unread mail is unread' eval 'as_olga s2 check --peek | grep "unread here" && as_olga s2-worker check --peek | grep "unread there"'
inside touch /home/olga/end
check 'the task in hand is completed, by the work program of 0.1' within 40 as_olga sh -c 's2 task list --all | grep "completed.*finished\|completed.*the one in hand"'
check 'the other one waits' test "$(open_tasks 'the one that waits')" = 1

as_olga systemctl --user stop 's2-*.service' work-first.service
check 'as the documents say it, there is a way back: its programs' install_as_olga /srv/first
check 'its database' as_olga s2 restore "$hers/bridge.db.schema-1"
check 'its services' as_olga systemctl --user start s2-watchdog s2-keepalive s2-worker-keepalive s2-cred-sync
check 'the worker lives' within 15 as_olga sh -c 's2 status | grep "s2-worker-2.*alive"'
check 'with what it had in hand' test "$(open_tasks 'the one')" = 2

check 'and over again' install_as_olga /src
check 'everything runs' are_active
as_olga sh -c 'printf "S2_ALLOW_PLAINTEXT_CREDENTIALS=yes\nS2_WORKER=2\nS2_GIT_POLL=1s\n" >/home/olga/.config/s2/s2-worker-cred-sync.env && systemctl --user restart s2-worker-cred-sync'
check 'plain files are read where that is allowed, and it is reminded of' within 15 refuses 'plain files.*last looked' as_olga s2-worker health cred-sync
as_olga sh -c 'rm /home/olga/.config/s2/s2-worker-cred-sync.env && systemctl --user restart s2-worker-cred-sync'
check 'and nowhere else' within 10 refuses 'has not joined a fleet' as_olga s2-worker health cred-sync
plain=$(conversation 1)
check 'the worker is invited, and joins' as_olga sh -c 's2 worker invite 2 --role backend | s2-worker worker join'
check 'it belongs to the fleet by its keys' within 20 has_joined
check 'git has no plain credential any more, and nobody speaks of one' within 75 lacks 'plain credentials' as_olga s2 incident list
check 'the conversation of before is ended' as_olga s2 conversation end "$plain"
check 'what was unread there can be read still' as_olga sh -c 's2-worker check | grep "unread there"'
works_for_olga work-now 'echo done anew'
check 'the tasks are done by the new session' within 60 as_olga sh -c '! s2 task list | grep "the one"'
as_olga systemctl --user stop work-now 's2-*.service'
check 'it is removed' as_olga sh -c 'cd /src && PURGE=1 sh deploy/install.sh uninstall-user'
