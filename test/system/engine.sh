# Sourced by system tests that run as root: a docker engine of their own. It lives in namespaces of its own (mounts, network,
# processes), so that nothing of it reaches the machine but its socket, its containers see no network but their own, and
# ending its first process ends all that it ever started.
#
#   engine_needs            ends the script where there can be none
#   engine_open FOLDER      makes the place; the folder is the caller's, to be removed after engine_close
#   engine_start [OPTION…]  starts dockerd there and waits until it answers; the options are dockerd's. Sets DOCKER_HOST
#   engine_kill [SIGNAL]    ends dockerd alone (KILL unless said) and waits for its end; its containers do what they would
#   engine_signal SIGNAL    sends dockerd a signal: STOP and CONT make one that hangs
#   engine_inside COMMAND…  runs a command in its namespaces
#   engine_close            ends everything; harmless when nothing is open
#
# It is opened by the script itself, not in a subshell: the engine dies with whoever opened it.
# shellcheck shell=bash

engine_folder=''
engine_holder=''
engine_leader=''
engine_entered=''
engine_daemon=''
engine_cgroup=s2-engine-$$

engine_needs() {
  needs_root 'a docker engine of its own'
  needs docker.io docker dockerd
  needs iproute2 ip
  needs iptables iptables
  needs procps pgrep
}

engine_open() { # folder
  engine_folder=$1
  mkdir -p "$engine_folder"
  # The first process must bury the dead: a containerd that nobody buried counts as alive, and no second one is started.
  setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
    bash -c 'while :; do sleep 3600 & wait; done' s2-engine </dev/null >/dev/null 2>&1 &
  engine_holder=$!
  engine_await 200 eval 'engine_leader=$(pgrep -P "$engine_holder" -f s2-engine)' ||
    { echo 'no namespaces of its own can be made for the engine' >&2; return 1; }
  [ ! -d /run/containerd ] || engine_inside mount -t tmpfs none /run/containerd # the machine's would be taken for ours
  engine_inside ip link set lo up
}

engine_inside() { nsenter --target "$engine_leader" --mount --net --pid -- "$@"; }

engine_start() { # dockerd options…
  export DOCKER_HOST=unix://$engine_folder/docker.sock
  rm -f "$engine_folder/docker.pid" # one that was killed leaves its number behind, which may be another's by now
  # Not by engine_inside, which in the background would be one process more between this one and dockerd.
  nsenter --target "$engine_leader" --mount --net --pid -- \
    dockerd --host "$DOCKER_HOST" --data-root "$engine_folder/data" --exec-root "$engine_folder/exec" \
    --pidfile "$engine_folder/docker.pid" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$engine_cgroup" \
    --log-level warn "$@" </dev/null >>"$engine_folder/dockerd.log" 2>&1 &
  engine_entered=$!
  engine_await 600 engine_answers_or_ended
  engine_daemon=$(pgrep -P "$engine_entered") && docker version >/dev/null 2>&1 && return
  echo "dockerd does not answer; the end of $engine_folder/dockerd.log:" >&2
  tail -n 5 "$engine_folder/dockerd.log" >&2
  return 1
}

engine_answers_or_ended() { docker version >/dev/null 2>&1 || ! kill -0 "$engine_entered" 2>/dev/null; }

engine_signal() {
  kill -s "$1" "$engine_daemon"
  [ "$1" != CONT ] || kill -s CONT "$engine_entered" # who waits for a stopped child stops too
}

engine_kill() { # signal
  engine_signal "${1:-KILL}"
  wait "$engine_entered" 2>/dev/null
  return 0
}

engine_close() {
  [ -n "$engine_holder" ] || return 0
  [ -z "$engine_leader" ] || kill -KILL "$engine_leader" 2>/dev/null
  wait "$engine_holder" "$engine_entered" 2>/dev/null
  engine_holder=''
  # Mounts and processes went with the namespaces. Groups stay until they are empty and removed.
  engine_await 200 engine_leaves_no_groups
}

engine_leaves_no_groups() {
  find /sys/fs/cgroup -depth -type d -path "*/$engine_cgroup*" -exec rmdir {} + 2>/dev/null
  [ -z "$(find /sys/fs/cgroup -type d -name "$engine_cgroup" 2>/dev/null)" ]
}

engine_await() { # tenths command…
  local tenths=$1
  shift
  until "$@"; do
    tenths=$((tenths - 1))
    [ "$tenths" -gt 0 ] || return 1
    sleep 0.1
  done
}
