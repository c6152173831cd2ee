#!/bin/bash
# Lets a watchdog watch containers of a real docker engine, and breaks them, and the engine too. A keepalive beats for all
# agents throughout: what the watchdog finds out it has from the engine alone. Wants root and a built checkout.
# Ends with a line `N passed, N failed`.
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=test/system/checks.sh
. "$here/test/system/checks.sh"
# shellcheck source=test/system/engine.sh
. "$here/test/system/engine.sh"

engine_needs
node=$(cd "$here" && . ./deploy/env.sh >/dev/null && command -v node)

take_folder evidence engine_close

settings=(S2_STATE="$work/state" S2_BEAT=1s S2_LATE_AFTER=5s S2_SILENT_AFTER=8s S2_MOVE_EVERY=1s)
program() { # name settings…: starts it where the engine is, so that it ends with it
  local name=$1
  shift
  engine_inside env "${settings[@]}" "$@" "$node" "$here/dist/$name.js" </dev/null >>"$work/$name.log" 2>&1 &
}
s2() { engine_inside env "${settings[@]}" "$node" "$here/dist/s2.js" "$@"; }

# An image without a registry: a shell and what it needs.
make_image() {
  local place=$work/image tool
  for tool in sh sleep tail touch test; do
    # shellcheck disable=SC2046 # every library is a word
    tar -C / -chf - $(ldd "$(command -v "$tool")" | grep -o '/[^ ]*' | sort -u) "$(readlink -f "$(command -v "$tool")")" 2>/dev/null |
      { mkdir -p "$place" && tar -C "$place" -xf -; }
    mkdir -p "$place/bin" && cp "$(readlink -f "$(command -v "$tool")")" "$place/bin/$tool"
  done
  mkdir -p "$place/tmp"
  tar -C "$place" -c . | docker import - s2-agent >/dev/null
}
agent() { # number options…: a container of that worker
  local number=$1
  shift
  docker run --detach --network none --label "s2.agent=s2-worker-$number" --name "agent-$number" "$@" \
    s2-agent sh -c 'trap "exit 0" TERM; while :; do sleep 0.2; done' >/dev/null
}

# A worker's end is put beside the orchestrator's, so that one keepalive beats for all.
channel_to() { # number
  s2 conversation create --role-b tests --agent-b "s2-worker-$1" --lifetime 1h --show-tokens --json |
    "$node" -e '
      const fs = require("node:fs"), [folder] = process.argv.slice(1)
      const { id, tokens, agents, roles } = JSON.parse(fs.readFileSync(0))
      const boss = JSON.parse(fs.readFileSync(`${folder}/${id}-a.json`))
      const worker = { ...boss, session: `${id}/b`, token: tokens.b, agent: agents.b, role: roles.b }
      fs.writeFileSync(`${folder}/${id}-b.json`, JSON.stringify(worker), { mode: 0o600 })
    ' "$work/state/credentials"
}

verdict_is() { # number verdict
  local said
  said=$(s2 status --json | "$node" -e '
    const { agents } = JSON.parse(require("node:fs").readFileSync(0))
    console.log(agents.find(({ name }) => name === process.argv[1])?.verdict)' "s2-worker-$1")
  echo "s2-worker-$1 is $said"
  [ "$said" = "$2" ]
}
incident() { # cause: prints the summary of an open incident
  s2 status --json | "$node" -e '
    const { incidents } = JSON.parse(require("node:fs").readFileSync(0))
    const found = incidents.find(({ cause }) => cause === process.argv[1])
    console.log(found?.summary ?? "none: " + incidents.map(({ cause }) => cause))
    process.exitCode = found === undefined ? 1 : 0' "$1"
}
no_incident() { incident "$1" | grep '^none: '; }
incident_says() { incident "$1" | tee /dev/stderr | grep -q -e "$2"; } # cause words
logged() { grep -q -e "$1" "$work/watchdog.log"; }
body_is() { logged "\"agent\":\"s2-worker-$1\".*\"state\":\"$2\".*$3"; } # number state words
lines() { grep -c -e "$1" "$work/watchdog.log"; }

# Milliseconds from a container's end, as its engine has it, to the last event of this kind about its worker.
since_death() { # number event
  "$node" -e '
    const fs = require("node:fs"), [log, agent, event, ended] = process.argv.slice(1)
    const lines = fs.readFileSync(log, "utf8").trim().split("\n").map((line) => JSON.parse(line))
    const isIt = (each) => each.event === event && (each.agent === agent ? each.to === "gone" : each.reason === "gone")
    const [at] = lines.filter(isIt).map(({ at }) => Date.parse(at)).slice(-1)
    console.log(at - Date.parse(ended))
  ' "$work/watchdog.log" "s2-worker-$1" "$2" "$(docker inspect -f '{{.State.FinishedAt}}' "agent-$1")"
}
# A machine that stalls for up to 3 s is forgiven: more would let pass a list that is read every 5 s where events were to be heard.
at_most() { # milliseconds command…
  local most=$(($1 + 3000)) took
  shift
  took=$("$@")
  echo "$took ms"
  [ "$took" -ge -5 ] && [ "$took" -le "$most" ] && printf '             %s ms\n' "$took" >&3
}
exec 3>&1

chapter 'a docker engine of its own, six agents of which five run in containers, and one keepalive for all'
engine_open "$work/engine"
must 'the engine starts' engine_start --live-restore
must 'an image is made' make_image
program bridge
check 'the bridge answers' within 20 s2 conversation list
for number in 1 2 3 4 5; do check "a channel to s2-worker-$number is opened" channel_to "$number"; done
agent 1
agent 2 --label s2.restart=true
agent 3 --health-cmd 'test ! -e /tmp/sick' --health-interval 1s --health-retries 1 --health-timeout 2s
agent 4 --memory 32m --memory-swap 32m
agent 5 --rm
program keepalive
program watchdog S2_DOCKER="$DOCKER_HOST" S2_RESTART_AFTER=2s S2_RESTARTS_MAX=2 S2_LOG_LEVEL=debug
for number in 1 2 3 4 5; do check "s2-worker-$number is alive" within 20 verdict_is "$number" alive; done
check 'and its container is known' within 5 body_is 5 living .

[ "$failed" -eq 0 ] || { tail -n 20 "$work/watchdog.log"; sum_up; exit 1; }

chapter 'death is a verdict within a second, and the work goes to another within one more'
check 's2-worker-1 has a task' s2 task add --id task-1 --to s2-worker-1 wait
docker kill agent-1 >/dev/null
check 's2-worker-1 is gone' within 3 verdict_is 1 gone
check 'within 1 s of its death' at_most 1000 since_death 1 'verdict passed'
check 'its task went to another' within 3 logged '"event":"task reassigned".*"reason":"gone"'
check 'within 2 s of its death' at_most 2000 since_death 1 'task reassigned'
check 'one incident says why' within 3 incident_says gone:s2-worker-1 'container agent-1: exit code 137'
sleep 6
check 'beats of the keepalive that outlived it do not vouch for it' verdict_is 1 gone
docker start agent-1 >/dev/null
check 'it is alive when its container is' within 5 verdict_is 1 alive
check 'and the incident is over' within 5 no_incident gone:s2-worker-1

chapter 'a container that is removed, one that is short of memory, one that is unwell, one that is paused'
docker kill agent-5 >/dev/null
check 'one that is removed as it ends is gone' within 2 verdict_is 5 gone
check 'with its exit code' within 3 incident_says gone:s2-worker-5 'exit code 137'
check 'another of the same agent' agent 5
check 'brings it back' within 5 verdict_is 5 alive
docker exec --detach agent-4 sh -c 'kill -TERM 1'
check 'an end by its own will is gone too' within 4 verdict_is 4 gone
docker rm agent-4 >/dev/null
docker run --detach --network none --label s2.agent=s2-worker-4 --name agent-4 --memory 32m --memory-swap 32m s2-agent \
  sh -c 'sleep 15; exec tail /dev/zero' >/dev/null
check 'a new one is alive' within 5 verdict_is 4 alive
check 'and the incident is over' within 4 no_incident gone:s2-worker-4
check 'until its memory is short' within 20 incident_says gone:s2-worker-4 'exit code 137, out of memory'
docker exec agent-3 touch /tmp/sick
check 'unwell is evidence' within 8 body_is 3 hindered 'is unhealthy'
check 'but no death' verdict_is 3 alive
docker pause agent-1 >/dev/null
check 'paused is evidence' within 3 body_is 1 hindered 'is paused'
check 'but no death either' verdict_is 1 alive
docker unpause agent-1 >/dev/null

chapter 'unknown is not dead'
docker rm -f agent-4 >/dev/null
agent 4
check 'all are alive' within 10 verdict_is 4 alive
before=$(lines '"event":"verdict passed"')
pid=$(docker inspect -f '{{.State.Pid}}' agent-3)
engine_signal STOP
check 'an engine that hangs is noticed' within 12 logged 'supervisor does not answer'
check 'nobody is judged by it' test "$(lines '"event":"verdict passed"')" = "$before"
engine_signal CONT
check 'it answers again' within 12 logged 'supervisor answers again'
engine_kill
check 'an engine that was killed is noticed' within 5 eval '[ "$(lines "supervisor does not answer")" -ge 2 ]'
check 'and after a while told of' within 15 incident_says supervisor_away:docker 'docker does not answer'
engine_inside kill -KILL "$pid"
check 'still nobody is judged' test "$(lines '"event":"verdict passed"')" = "$before"
check 'the engine starts again' engine_start --live-restore
check 'one container had ended meanwhile: its agent is gone' within 15 eval '[ "$(lines "\"to\":\"gone\"")" -gt 4 ]'
check 'only that one was judged' eval '[ "$(lines "\"event\":\"verdict passed\"")" = $((before + 1)) ]'
check 'and the incident is over' within 5 no_incident supervisor_away:docker
docker start agent-1 agent-2 agent-3 agent-4 >/dev/null 2>&1

chapter 'the last rung'
for number in 1 2 3 4; do check "s2-worker-$number is alive" within 15 verdict_is "$number" alive; done
restarted() { [ "$(lines '"event":"agent restarted"')" -ge "$1" ]; }
docker kill agent-2 >/dev/null
check 'a container that may be is started again' within 15 restarted 1
check 'and its agent lives' within 5 verdict_is 2 alive
check 'and the claim is released' within 10 no_incident restart:s2-worker-2
docker kill agent-2 >/dev/null
check 'once more' within 25 restarted 2
check 'and its agent lives again' within 5 verdict_is 2 alive
check 'and the claim is released again' within 10 no_incident restart:s2-worker-2
docker kill agent-2 >/dev/null
check 'no more than is allowed: a human is asked' within 15 incident_says restarts_exhausted:s2-worker-2 'started 2 times within an hour'
docker kill agent-1 >/dev/null
check 'one that may not be is left dead' within 3 verdict_is 1 gone
sleep 6
check 'for good' verdict_is 1 gone
check 'and nothing more was started' eval '[ "$(lines "agent restarted")" = 2 ]'
docker rm -f agent-4 >/dev/null
mkdir "$work/lent"
agent 4 --label s2.restart=true --mount "type=bind,src=$work/lent,dst=/lent"
check 'another, with a folder of this machine, is alive' within 5 verdict_is 4 alive
rmdir "$work/lent"
docker kill agent-4 >/dev/null
check 'a start that the engine refuses is told as that, with its reason' within 20 incident_says restart_failed:s2-worker-4 'could not be started again: docker could not start it: .*/lent'
check 'and not called a restart' eval '[ "$(lines "agent restarted")" = 2 ]'

[ "$failed" -eq 0 ] || tail -n 40 "$work/watchdog.log"
sum_up
