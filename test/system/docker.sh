#!/bin/bash
# Builds the container image with no registry in reach, on a Debian as debootstrap makes it, brings both profiles of docker/compose.yaml from nothing to healthy on a
# docker engine of its own, and breaks them there. Wants root and a built checkout. Ends with a line `N passed, N failed`.
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=test/system/checks.sh
. "$here/test/system/checks.sh"
# shellcheck source=test/system/engine.sh
. "$here/test/system/engine.sh"

engine_needs
needs debootstrap debootstrap
needs docker-compose docker-compose
needs openssh-client ssh-keygen
needs openssl openssl

relays=()
close_all() { # what is outside of the engine does not end with it
  engine_close
  [ ${#relays[@]} -eq 0 ] || kill "${relays[@]}" 2>/dev/null
}
take_folder docker close_all
node=$(cd "$here" && . ./deploy/env.sh >/dev/null && command -v node)

# Two Debians without a registry: one as debootstrap makes it, that the image shall stand on, and one that serves git by ssh.
make_bases() {
  local root=$work/base
  make_debian "$root" apt-utils || return
  rm "$root/etc/dpkg/dpkg.cfg.d/s2"
  tar -C "$root" -c . | docker import - s2-base || return
  cp /etc/resolv.conf "$root/etc/"
  chroot "$root" sh -c 'apt-get update -qq && apt-get install -qq --no-install-recommends git openssh-server' || return
  tar -C "$root" --exclude=./var/cache -c . | docker import - s2-git
  rm -rf --one-file-system "$root"
}

# The engine sees no network but its own; a socket in the file system leads out of it, to Debian's packages and to nothing else.
lead_to_packages() {
  local host
  cat >"$work/relay.cjs" <<'TXT'
const net = require('node:net')
const [from, to] = process.argv.slice(2).map((end) => (end[0] === '/' ? { path: end } : { host: end.split(':')[0], port: +end.split(':')[1] }))
net.createServer((one) => {
  const other = net.connect(to)
  one.pipe(other).pipe(one)
  for (const [each, its] of [[one, other], [other, one]]) each.on('error', () => its.destroy())
}).listen(from)
TXT
  host=$(debian_mirror | sed 's#^[a-z]*://##; s#/.*##')
  case $host in *:*) ;; *) host=$host:80 ;; esac
  "$node" "$work/relay.cjs" "$work/packages" "$host" </dev/null >>"$work/relay.log" 2>&1 &
  relays+=($!)
  engine_inside "$node" "$work/relay.cjs" 172.17.0.1:3128 "$work/packages" </dev/null >>"$work/relay.log" 2>&1 &
}

# Compose v2 where docker has it, else the one of the next Debian, unpacked and not installed.
find_compose_v2() {
  if docker compose version >/dev/null 2>&1; then v2=(docker compose); return; fi
  local place=$work/apt
  mkdir -p "$place/lists/partial" "$place/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) trixie main" >"$place/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$place/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$place/lists" -o "Dir::Cache=$place/cache" -o APT::Sandbox::User=root)
  timeout 60 "${apt[@]}" update && (cd "$place" && timeout 60 "${apt[@]}" download docker-compose) || return
  dpkg-deb -x "$place"/docker-compose_2*.deb "$place/x" && rm -rf "$place/lists" "$place/cache"
  v2=("$place/x/usr/libexec/docker/cli-plugins/docker-compose")
  "${v2[@]}" version
}

# A git server as people have them: ssh, a key that may read and write, a host key that one knows. And a certificate.
lay_secrets() {
  local secrets=$work/secrets
  mkdir -p "$secrets" "$work/git"
  ssh-keygen -q -t ed25519 -N '' -f "$secrets/git_key" -C fleet
  ssh-keygen -q -t ed25519 -N '' -f "$work/git/host_key" -C git
  mv "$secrets/git_key.pub" "$work/git/authorized_keys"
  echo "git $(cut -d' ' -f1,2 "$work/git/host_key.pub")" >"$secrets/git_known_hosts"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bridge -addext subjectAltName=DNS:bridge \
    -keyout "$secrets/tls.key" -out "$secrets/tls.crt"
  openssl rand -hex 16 >"$secrets/agent_key"
  chown -R 7433:7433 "$secrets" && chmod -R go= "$secrets"
}
start_git() {
  docker run --detach --name git --network fleet --restart always -v "$work/git:/keys:ro" s2-git sh -c '
    useradd --create-home --password "*" git
    install -D --owner=git --mode=600 /keys/authorized_keys /home/git/.ssh/authorized_keys
    install --mode=600 /keys/host_key /root/host_key
    [ -d /home/git/fleet.git ] || su git -s /bin/sh -c "git init --quiet --bare --initial-branch=main /home/git/fleet.git"
    mkdir -p /run/sshd
    exec /usr/sbin/sshd -D -e -h /root/host_key'
}

# Two hosts: each has the compose file, its settings and its secrets; they share a network and the git server.
lay_host() { # orchestrator|worker
  mkdir -p "$work/$1"
  cp "$here"/docker/{compose.yaml,none} "$work/$1/"
  cp -a "$work/secrets" "$work/$1/"
  printf 'networks: {default: {external: true, name: fleet}}\n' >"$work/$1/compose.override.yaml"
}
lay_hosts() {
  lay_host orchestrator
  cat >"$work/orchestrator/.env" <<'TXT'
COMPOSE_PROJECT_NAME=o
S2_BRIDGE_URL=https://bridge:7433
S2_ALLOWED_HOSTS=bridge:7433
S2_TLS_CERT=/run/secrets/tls_cert
S2_TLS_KEY=/run/secrets/tls_key
TLS_CERT=./secrets/tls.crt
TLS_KEY=./secrets/tls.key
BRIDGE_CA=./secrets/tls.crt
S2_GIT_REMOTE=ssh://git@git/home/git/fleet.git
S2_GIT_POLL=5s
GIT_KEY=./secrets/git_key
GIT_KNOWN_HOSTS=./secrets/git_known_hosts
TXT
  lay_host worker
  cat >"$work/worker/.env" <<'TXT'
COMPOSE_PROJECT_NAME=w
S2_HOST=cloud-3
S2_GIT_POLL=5s
GIT_KEY=./secrets/git_key
GIT_KNOWN_HOSTS=./secrets/git_known_hosts
BRIDGE_CA=./secrets/tls.crt
AGENT_IMAGE=agent
AGENT_EXEC='KEY=$(cat /run/secrets/agent_key) do-task "$S2_TASK_DESCRIPTION"'
AGENT_KEY=./secrets/agent_key
AGENT_NAME=s2-worker-3
TXT
}
lay_identity() { # host: the settings that name it; the file itself is laid by whoever has it
  printf 'S2_IDENTITY=/run/secrets/identity\nIDENTITY=./secrets/identity\n' >>"$work/$1/.env"
}

v2=()
tools=(docker-compose)
compose=(docker-compose)
with() { if [ "$1" = v2 ]; then compose=("${v2[@]}"); else compose=("$1"); fi; } # tool
on() { # host compose-arguments…
  local host=$1
  shift
  (cd "$work/$host" && "${compose[@]}" "$@")
}
up() { on "$1" --profile "$1" up -d; }
down() { on "$1" --profile "$1" down --volumes; }
named() { docker ps --all --quiet --filter "label=com.docker.compose.service=$1"; } # service: its container
s2() { docker exec "$(named issuer)" s2 "$@"; }                                     # as the orchestrator
joins() { # over a pipe, as a script would: the line is in no argument
  local line
  line=$(s2 worker invite 3 --role tests) && printf %s "$line" | docker exec --interactive "$(named cred-sync)" s2 worker join - >"$work/said" &&
    cat "$work/said" && grep -q 'This host is s2-worker-3 now' "$work/said"
}
is_prepared() { # keys that are made on the orchestrator's host are handed to the worker's
  s2 worker prepare 3 --role tests --out /tmp/three && docker exec "$(named issuer)" cat /tmp/three >"$work/worker/secrets/identity" &&
    docker exec "$(named issuer)" rm /tmp/three && chown 7433 "$work/worker/secrets/identity" && chmod 400 "$work/worker/secrets/identity" && lay_identity worker
}
in_git() { docker exec git su git -s /bin/sh -c "git --git-dir=/home/git/fleet.git cat-file -p main:credentials/$1"; } # file
program_of() { if [ "$1" = issuer ]; then echo cred-sync; else echo "$1"; fi; }                                     # service
is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(named "$1")")" = healthy ]; }
is_unhealthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(named "$1")")" = unhealthy ]; }
all_healthy() { local each; for each in bridge watchdog issuer cred-sync keepalive fs-watcher; do is_healthy "$each" || return; done; }
all_run() { local each; for each in "$@"; do [ "$(docker inspect --format '{{.State.Running}}' "$(named "$each")")" = true ] || { echo "$each"; return 1; }; done; }
restarts() { docker inspect --format '{{.RestartCount}}' "$(named "$1")"; }
is_back() { # service restarts-before: docker started it again, and it can do its work
  [ "$(restarts "$1")" -gt "$2" ] && docker exec "$(named "$1")" s2 health "$(program_of "$1")"
}
task_is() { s2 task show "$1" --json | grep -q "\"state\": *\"$2\""; } # id state
add_task() { s2 task add "$2" --id "$1" --role tests; }                # id command
works() { add_task "$1" "${2:-echo $1}" && within "${3:-30}" task_is "$1" completed; }
kill_in() { docker exec "$(named "$1")" sh -c "kill -$2 \$(cut -d' ' -f2 /tmp/s2)"; } # service signal: to its program
outgrow() { # service: the kernel is asked to take the program first, then memory runs out
  docker exec "$(named "$1")" sh -c 'echo 1000 >"/proc/$(cut -d" " -f2 /tmp/s2)/oom_score_adj"; tail /dev/zero' || true
  [ "$(docker inspect --format '{{.State.OOMKilled}}' "$(named "$1")")" = true ] || within 5 is_back "$1" "$before"
}
ends_well() {
  local each codes=''
  on worker --profile worker stop && on orchestrator --profile orchestrator stop || return
  for each in bridge watchdog issuer cred-sync keepalive fs-watcher; do codes+=$(docker inspect --format '{{.State.ExitCode}}' "$(named "$each")"); done
  [ "$codes" = 000000 ] || { echo "exit codes $codes"; return 1; }
}
no_powers() {
  local each
  for each in bridge watchdog issuer cred-sync keepalive fs-watcher agent; do
    docker exec "$(named "$each")" sh -c '! touch /opt/s2/x 2>/dev/null && grep -q "^CapBnd:\s*0*$" /proc/1/status && grep -q "^NoNewPrivs:\s*1" /proc/1/status' || { echo "$each"; return 1; }
  done
}
in_agent() { docker exec "$(named agent)" sh -c "$1"; } # lines of shell: as a task could run them
hidden() { # service path-in-the-state other: what the one has there, the other has nowhere
  docker exec "$(named "$1")" test -e "/var/lib/s2/$2" || { echo "$1 has no $2"; return 1; }
  # That /etc/passwd is found says that the search took place.
  [ "$(docker exec "$(named "$3")" find / -path /proc -prune -o \( -path "*/$2" -o -path /etc/passwd \) -print 2>/dev/null)" = /etc/passwd ] ||
    { echo "$3 sees $2 of $1"; return 1; }
}
agent_is_apart() {
  hidden cred-sync keys/identity.json agent && hidden cred-sync git/HEAD agent && hidden fs-watcher watcher/inbox.json agent &&
    hidden keepalive run/keepalive.sock agent && hidden cred-sync run/cred-sync.sock agent && hidden cred-sync hints/credentials agent
}
programs_are_apart() {
  local each
  for each in keepalive fs-watcher; do hidden cred-sync keys/identity.json "$each" && hidden cred-sync git/HEAD "$each" || return; done
  hidden keepalive inbox/new cred-sync && hidden keepalive outbox/new cred-sync && hidden keepalive outbox/new fs-watcher &&
    hidden fs-watcher watcher/inbox.json keepalive
}
reads_and_changes_nothing() { # folder: the agent can list it, and all that is refused says so
  in_agent "cd '/var/lib/s2/$1' && cat ./* >/dev/null && for act in 'touch x' 'rm ./*' 'chmod 777 .' 'ln -s / z'; do ! sh -c \"\$act\" 2>/dev/null || { echo \"\$act\"; exit 1; }; done"
}
spool_files() { docker exec "$(named "$1")" find /var/lib/s2/outbox/new /var/lib/s2/outbox/refused -type f 2>/dev/null | wc -l; } # service: what waits, or was refused
# A worker of before, when all its programs shared one volume; and a letter waits in it.
goes_back() {
  local each
  on worker --profile worker stop keepalive && in_agent "s2 send orchestrator 'of before' | grep waiting" && [ "$(spool_files agent)" = 1 ] || return
  on worker --profile worker stop && on worker --profile worker rm --force || return
  for each in inbox outbox credentials watcher; do
    docker run --rm -v w_state:/to -v "w_$each:/from" --entrypoint cp s2 -aT /from "/to/$each" && docker volume rm "w_$each" || return
  done
  docker volume rm w_run w_hints w_wake w_agent
}
is_told_of_mail_of_before() {
  on worker --profile worker up -d --no-deps cred-sync && within 10 eval 'docker logs "$(named cred-sync)" 2>&1 | grep "before the upgrade"' &&
    on worker --profile worker rm --force --stop
}
# As docs/install.md has it for a worker of before.
moves_as_written() {
  sed -n '/profile worker up --no-start/,/^    done/p' "$here/docs/install.md" | sed 's/\<s2_/w_/g; s/docker compose/compose/' >"$work/moves"
  [ "$(wc -l <"$work/moves")" -ge 4 ] || { echo 'the page does not say how'; return 1; }
  (compose() { on worker "$@"; }; set -e; . "$work/moves")
}

no_secrets() {
  local line
  for line in "$(sed -n 2p "$work/secrets/git_key")" "$(cat "$work/secrets/agent_key")"; do
    # shellcheck disable=SC2046 # ids are words
    ! docker inspect $(docker ps --quiet) $(docker image ls --quiet) | grep -F "$line" || return
    ! docker image save s2 | grep -aF "$line" || return
  done
}
# How often tasks were done; but for those that may have been in hand when the engine killed the agent, maybe between the deed and
# the word of it.
did() { docker exec "$(named agent)" sort /var/lib/s2/done | grep -v -e slow -e queued | uniq -c | awk '{ print $1 }' | sort -u | tr '\n' ' '; }

chapter 'a docker engine of its own, and no registry'
engine_open "$work/engine" || cannot 'namespaces of its own cannot be made'
must 'starts' engine_start
must 'Debians to build on are made' make_bases
check 'Compose v2 is at hand' find_compose_v2 && tools+=(v2)

chapter 'the image'
check 'a base that is short of packages, and no network: they are named before anything takes long' \
  refuses 'lacks ca-certificates openssh-client tini libcurl3-gnutls git' env BASE=s2-base make -C "$here" --no-print-directory image
lead_to_packages
must 'make image builds it on a Debian as debootstrap makes it' env http_proxy=http://172.17.0.1:3128 BASE=s2-base make -C "$here" --no-print-directory image
check 'nothing is left of what it was made with' eval 'lacks s2-base- docker image ls && lacks s2-base- docker ps --all'
bytes() { docker image inspect --format '{{.Size}}' "$1"; }
printf '%9s s2 has %s MB, on a Debian that had %s MB\n' '' "$(($(bytes s2) / 1000000))" "$(($(bytes s2-base) / 1000000))"
check 'it has 210 MB or less' test "$(bytes s2)" -le 210000000
check 'nothing that it lists is broken, and it converts texts' docker run --rm --entrypoint sh s2 -c '[ -z "$(dpkg --audit)" ] && [ "$(printf "gr\374n" | iconv -f LATIN1 -t UTF-8)" = grün ]'
check 'the command line is what runs unless told otherwise' sh -c 'docker run --rm s2 | grep -q "keeps a fleet\|Keeps a fleet"'
check 'it runs as nobody in particular' sh -c 'docker run --rm --entrypoint id s2 | grep "uid=7433(s2) gid=7433(s2)"'
check 'no file of it can be changed by its user' sh -c '! docker run --rm --entrypoint find s2 / -xdev \( -path /proc -o -path /tmp -o -path /var/tmp -o -path /var/lib/s2 -o -path /srv/store -o -path /home/s2 -o -path /run/lock \) -prune -o -writable ! -type l -print | grep .'

make_agent() { # an image of somebody's own, with a program that does tasks when it has its key
  docker build --tag agent - <<'TXT'
FROM s2
USER root
RUN printf '#!/bin/sh\ntest -n "$KEY" && exec sh -c "$1"\n' >/usr/local/bin/do-task && chmod 755 /usr/local/bin/do-task
USER s2
TXT
}
must "an agent's image stands on it" make_agent

chapter 'what is missing is said'
lay_secrets >"$work/out" 2>&1
lay_hosts
docker network create fleet >/dev/null
bare=(docker run --rm --init --read-only --tmpfs /tmp)
stateful=("${bare[@]}" --tmpfs /var/lib/s2:uid=7433,gid=7433,mode=0700)
check 'a bridge beyond its container without TLS' refuses 'S2_TLS_CERT' "${stateful[@]}" -e S2_LISTEN=0.0.0.0:7433 s2 bridge
check 'a program that there is not' refuses 'keepalife' "${stateful[@]}" s2 keepalife
check 'a setting that there is not' refuses 'did you mean S2_BEAT' "${stateful[@]}" -e S2_BEET=1s s2 keepalive
check 'a root that cannot be written and no /tmp' refuses 'tmpfs' docker run --rm --read-only --tmpfs /var/lib/s2:uid=7433,gid=7433,mode=0700 s2 keepalive
check 'a state without a volume' refuses '/var/lib/s2/inbox cannot be written' "${bare[@]}" s2 keepalive
check 'a state that cannot be written' refuses '/var/lib/s2 cannot be written' "${bare[@]}" -v "$work/git:/var/lib/s2" s2 keepalive
check 'a database in no folder of the host' refuses 'STORE_FOLDER=/srv/bridge' "${stateful[@]}" -e S2_STORE=sqlite:/srv/store/bridge.db s2 bridge
check 'a remote by ssh and no key' refuses 'GIT_KEY' "${stateful[@]}" -e S2_GIT_REMOTE=ssh://git@git/fleet.git s2 cred-sync
check 'a key that cannot be read' refuses 'cannot be read by uid 7433' "${stateful[@]}" -e S2_GIT_REMOTE=git@git:fleet.git \
  -v "$work/git/host_key:/run/secrets/git_key:ro" s2 cred-sync
keys_are() { # file: what a container says that has it for the keys of its worker
  "${stateful[@]}" -e S2_IDENTITY=/run/secrets/identity -v "$1:/run/secrets/identity:ro" s2 cred-sync
}
check 'keys of a worker that are not there' refuses 'name its file in .env, IDENTITY=' "${stateful[@]}" -e S2_IDENTITY=/run/secrets/identity s2 cred-sync
check 'those that cannot be read' refuses 'cannot be read by uid 7433' keys_are "$work/git/host_key"
install --owner=7433 --mode=440 "$work/secrets/agent_key" "$work/shown"
check 'those that others can read' refuses 'can be read by others' keys_are "$work/shown"
check 'an address for alerts that is none, read from its file and not repeated' refuses 'S2_ALERT_WEBHOOK=… must be a URL' \
  "${stateful[@]}" -v "$work/secrets/agent_key:/run/secrets/alert_webhook:ro" s2 watchdog
check 'an agent that nobody told what to do' refuses 'AGENT_EXEC' "${bare[@]}" s2 work
cp -a "$work/worker" "$work/bare"
rm -rf "$work/bare/secrets"
lay_identity bare
for tool in "${tools[@]}"; do
  with "$tool"
  check "$tool: a bridge without a certificate" refuses 'set S2_TLS_CERT' on worker --profile orchestrator run --rm --no-deps bridge
  check "$tool: a secret whose file is not there" refuses 'bare/secrets/\|IDENTITY' on bare --profile worker run --rm --no-deps cred-sync
  rm -rf "$work/bare/secrets"
done
rm "$work/bare/.env"
for tool in "${tools[@]}"; do
  with "$tool"
  check "$tool: no file of settings" refuses '\.env' on bare --profile worker up -d
done

chapter "from nothing to healthy, by $tool"
must 'the worker comes up before there is a bridge, a git server or a credential' up worker
check 'all of it runs, the agent too, and waits' within 20 all_run cred-sync keepalive fs-watcher agent
check 'the agent says for what' within 20 eval 'docker logs "$(named agent)" 2>&1 | grep "waiting for a credential"'
check 'so does s2 health, with what to do' refuses 'next: ' docker exec "$(named keepalive)" s2 health
must 'a git server by ssh' start_git
must 'a watchdog comes up without a bridge' on orchestrator --profile orchestrator up -d --no-deps watchdog
check 'and says what it lacks' within 20 refuses 'nobody collects beats.*' docker exec "$(named watchdog)" s2 health watchdog
must 'the orchestrator comes up' up orchestrator
must 'the bridge answers' within 20 is_healthy bridge
must 'the worker is invited, and joins' joins
must 'all six are healthy, by themselves' within 60 all_healthy
check 'its credential is in git too' within 20 in_git s2-worker-3-credentials.json
check 'by the name of its host' says 'cloud-3' s2 worker list
check 'and nothing was started twice on the way' eval 'for each in cred-sync keepalive fs-watcher agent bridge issuer watchdog; do [ "$(restarts "$each")" = 0 ] || { echo "$each"; exit 1; }; done'
check 'the agent does a task' works first 'echo first >>/var/lib/s2/done'
check 'no root can be written, no capability is left' no_powers
check 'settings and secrets are in no image, and no secret in any setting' no_secrets

chapter 'an agent that has gone over'
check 'a letter comes, and a file tells of it' eval "s2 send s2-worker-3 'a letter' && within 10 in_agent 'test -e /var/lib/s2/wake/mail'"
check 'the agent sees neither the keys of its host, nor the mirror of git, nor what the watcher keeps, nor a socket' agent_is_apart
check 'it reads its credential, and changes nothing of it' reads_and_changes_nothing credentials
check 'nor of what tells it of mail' reads_and_changes_nothing wake
check 'inbox and outbox cannot be put out of their places' in_agent 'cd /var/lib/s2 && ! mv inbox x 2>/dev/null && ! rmdir outbox 2>/dev/null'
check 'the programs have their own from each other, too' programs_are_apart
check 'one of them tells of all' eval 'docker exec "$(named keepalive)" s2 health >"$work/said" && [ "$(grep -c "ready" "$work/said")" = 3 ]'
check 'the bridge has no keys of the fleet, and makes none' refuses 'keys of this host cannot be used.*may not be read' docker exec "$(named bridge)" s2 worker invite 4 --role tests
check 'keys are made in no other container than that of cred-sync' refuses 'read-only' sh -c 's2() { docker exec "$1" s2 worker invite 4 --role tests; }; s2 "$1" | docker exec --interactive "$2" s2 worker join -' - "$(named issuer)" "$(named keepalive)"
check 'the agent answers its mail' eval 'in_agent "s2 check && s2 send orchestrator thanks" && within 10 eval "test \"\$(spool_files keepalive)\" = 0"'

chapter 'what dies comes back'
for service in bridge watchdog issuer cred-sync keepalive fs-watcher; do
  before=$(restarts "$service")
  check "$service is killed" kill_in "$service" KILL
  check "$service is back within 5 s" within 5 is_back "$service" "$before"
done
check 'and the fleet works' works killed 'echo killed >>/var/lib/s2/done'

before=$(restarts keepalive)
check 'keepalive outgrows its memory' outgrow keepalive
check 'it is back within 10 s' within 10 is_back keepalive "$before"

check 'the whole worker is paused' docker pause "$(named keepalive)" "$(named agent)" "$(named cred-sync)" "$(named fs-watcher)"
check 'a task and a letter come meanwhile' eval 'add_task paused "echo paused >>/var/lib/s2/done" && s2 send s2-worker-3 "while you slept"'
sleep 5
check 'it goes on' docker unpause "$(named keepalive)" "$(named agent)" "$(named cred-sync)" "$(named fs-watcher)"
check 'the task is done' within 30 task_is paused completed
check 'the letter is there' within 10 eval 'docker exec "$(named agent)" s2 check | grep "while you slept"'

declare -A stopped
for service in bridge watchdog keepalive; do
  stopped[$service]=$(restarts "$service")
  check "$service stands still" kill_in "$service" STOP
done
calm=$(restarts cred-sync) calm_too=$(restarts issuer)
check 'the git server goes away' docker stop --time 1 git
for service in bridge watchdog keepalive; do
  check "$service is ended by its health check and back within 90 s" within 90 is_back "$service" "${stopped[$service]}"
done
check 'the log says so' eval 'docker logs "$(named bridge)" 2>&1 | grep "s2-bridge hangs"'
check 'cred-sync, which only lacks its remote, is unhealthy' within 30 is_unhealthy cred-sync
check 'so is the one that issues credentials' within 30 is_unhealthy issuer
check 'and both are left alone' test "$(restarts cred-sync) $(restarts issuer)" = "$calm $calm_too"
check 'with the git server they are well again' eval 'docker start git && within 30 is_healthy cred-sync && within 30 is_healthy issuer'
check 'and the fleet works' works stopped 'echo stopped >>/var/lib/s2/done'

chapter 'the engine itself dies'
add_task slow 'sleep 3; echo slow >>/var/lib/s2/done' >/dev/null
within 20 task_is slow in_progress
for name in 1 2 3; do add_task "queued-$name" "echo queued-$name >>/var/lib/s2/done" >/dev/null; done
s2 send s2-worker-3 'before the engine died' >/dev/null
check 'it is killed in the midst of a task' engine_kill
check 'and started again' engine_start
must 'everything is healthy again by itself' within 90 all_healthy
for name in slow queued-1 queued-2 queued-3; do check "$name is done" within 60 task_is "$name" completed; done
check 'no letter was lost' within 10 eval 'docker exec "$(named agent)" s2 check | grep "before the engine died"'
check 'the engine is told to end, and to leave what lives alone' eval 'engine_kill TERM && engine_start --live-restore && within 90 all_healthy'
since=$(docker inspect --format '{{.State.StartedAt}}' "$(named bridge)")
check 'it is killed and started once more' eval 'engine_kill && engine_start --live-restore'
check 'nothing was even restarted' test "$since" = "$(docker inspect --format '{{.State.StartedAt}}' "$(named bridge)")"
check 'and the fleet works' works restored 'echo restored >>/var/lib/s2/done'
check 'every task that nobody was killed over was done once' eval 'did; test "$(did)" = "1 "'

chapter 'an upgrade from one volume for all'
check 'a worker as it was, with a letter under way' goes_back
check 'that is told of' is_told_of_mail_of_before
check 'what it had is moved as the page says' moves_as_written
must 'it comes up' up worker
check 'all is healthy, as the worker that it was' within 60 all_healthy
check 'the letter has left' within 10 eval 'test "$(spool_files keepalive)" = 0'
check 'and nothing of it stayed with the keys' docker exec "$(named cred-sync)" sh -c 'cd /var/lib/s2 && [ ! -e inbox ] && [ ! -e outbox ] && [ ! -e watcher ]'
check 'and the fleet works' works upgraded
check 'told to stop, all end well' ends_well
check 'down, with everything' eval 'down worker && down orchestrator'

if [ ${#tools[@]} -gt 1 ]; then
  with "${tools[0]}"
  chapter "from nothing to healthy, by ${tools[0]}"
  must 'a git server with nothing in it' eval 'docker rm --force git && start_git'
  must 'the orchestrator comes up' up orchestrator
  must 'the bridge answers' within 20 is_healthy bridge
  must 'a worker is prepared, for a host that nobody sits at' is_prepared
  must 'it comes up' up worker
  must 'all six are healthy, by themselves' within 60 all_healthy
  check 'the agent does a task' works first 'echo first'
  check 'down, with everything' eval 'down worker && down orchestrator'
fi

check 'the engine leaves nothing behind' eval 'engine_close && ! grep -q "$work" /proc/self/mounts'
sum_up
