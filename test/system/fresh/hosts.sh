# Two hosts by docs/install.md alone: an operator types at three terminals what "A second host" there says, and nothing else.
# Debian 13 becomes the orchestrator and has the git repository, Debian 12 the worker. Sourced by fresh.sh, which made both
# machines and left a checkout in each.
# shellcheck shell=bash

declare -A namespace=([13]="s2-hub-$$" [12]="s2-worker-$$") address=([13]=10.77.0.1 [12]=10.77.0.2) manager_of=() leader_of=()
tmux_socket=$work/tmux
lines_typed=0 characters_typed=0

end_hosts() {
  tmux -S "$tmux_socket" kill-server 2>/dev/null
  # Their power is cut: a machine that is asked to end may wait for one of its own services for ever, and its disk goes with it.
  [ ${#leader_of[@]} -eq 0 ] || kill -KILL "${leader_of[@]}" 2>/dev/null
  [ ${#manager_of[@]} -eq 0 ] || { kill -KILL "${manager_of[@]}"; wait "${manager_of[@]}"; } 2>/dev/null
  manager_of=() leader_of=() # the numbers are another's from now on
  for one in 13 12; do ip netns delete "${namespace[$one]}" 2>/dev/null; done
}
trap 'end_hosts; end_stories; rm -rf --one-file-system "$work"' EXIT

# --- the machines ---

prepare_host() { # number: what the operator of such a host has beside the packages that the README names, and nothing of S2
  rm -rf "$machines/$1/etc/systemd/system/s2-watchdog.service.d" # of the story before
  on "$1" root 'DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends sudo openssh-server openssh-client &&
    sed -i "/pam_systemd/d" /etc/pam.d/common-session && # a service manager for each who logs in can hang at its end here
    echo "ann ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/ann && chmod 440 /etc/sudoers.d/ann' &&
    printf '127.0.0.1 localhost\n%s hub.example.net hub\n%s build-2.example.net build-2\n' "${address[13]}" "${address[12]}" >"$machines/$1/etc/hosts" &&
    rm -f "$machines/$1/etc/hostname" && name_of "$1" >"$machines/$1/etc/hostname"
}
name_of() { [ "$1" = 13 ] && echo hub || echo build-2; } # number

lay_cable() {
  ip netns add "${namespace[13]}" && ip netns add "${namespace[12]}" &&
    ip -n "${namespace[13]}" link add eth0 type veth peer name eth0 netns "${namespace[12]}" &&
    for one in 13 12; do
      ip -n "${namespace[$one]}" address add "${address[$one]}/24" dev eth0 &&
        ip -n "${namespace[$one]}" link set lo up && ip -n "${namespace[$one]}" link set eth0 up || return
    done
}

boot_host() { # number
  setpriv --pdeathsig KILL systemd-nspawn --quiet --boot --register=no --keep-unit --resolv-conf=off \
    --network-namespace-path="/run/netns/${namespace[$1]}" --directory="$machines/$1" --machine="${namespace[$1]}" \
    </dev/null >"$work/host-$1.log" 2>&1 &
  manager_of[$1]=$!
  within 90 host_is_booted "$1"
}
host_is_booted() { # number
  leader_of[$1]=$(pgrep -P "${manager_of[$1]}" | head -n 1)
  [ -n "${leader_of[$1]}" ] && at_host "$1" systemctl is-system-running | grep -Eq 'running|degraded'
}
at_host() { # number command…: as root there
  local leader=${leader_of[$1]}
  shift
  nsenter -t "$leader" -a env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}
purged() { # number: as it was before the story of one host
  at_host "$1" sh -c "cd '${checkout[$1]}' && make uninstall PURGE=1" &&
    at_host "$1" sh -c '! test -e /opt/s2 && ! test -e /etc/s2 && ! test -e /var/lib/s2 && ! test -e /usr/local/bin/s2'
}

# --- the operator ---

terminal() { # name number: a terminal of ann's at a host
  tmux -S "$tmux_socket" -f /dev/null new-session -d -s "$1" -x 180 -y 50 \
    "exec nsenter -t ${leader_of[$2]} -a env -i TERM=screen LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin su - ann" &&
    within 20 shows "$1" '\$ *$'
}
screen_of() { tmux -S "$tmux_socket" capture-pane -p -J -S -5000 -t "$1"; } # terminal
shows() { screen_of "$1" | grep -q -e "$2"; } # terminal words
types() { # terminal text: a line, with Enter; what was on the screen before it is gone
  tmux -S "$tmux_socket" send-keys -t "$1" -R \; clear-history -t "$1"
  tmux -S "$tmux_socket" send-keys -t "$1" -l -- "$2"
  tmux -S "$tmux_socket" send-keys -t "$1" Enter
  lines_typed=$((lines_typed + 1))
  characters_typed=$((characters_typed + ${#2} + 1))
}
sees() { # terminal seconds words: they come onto its screen
  within "$2" shows "$1" "$3" && return
  screen_of "$1" | grep -v '^ *$' | tail -n 25
  return 1
}
answers() { # terminal words answer: a question with these words comes, and is answered
  sees "$1" 120 "$2" && types "$1" "$3"
}
prompt='@.*\$ *$'
types_and_returns() { # terminal seconds line: a command, to its end
  types "$1" "$3" && sees "$1" "$2" "$prompt"
}
lets_in() { # terminal: the key that is shown there is let in by the git server, and Enter tries again
  local key
  sees "$1" 120 'Press Enter to try again' || return
  key=$(screen_of "$1" | grep -o 'ssh-ed25519 AAAA.*' | tail -n 1)
  types_and_returns second 20 "echo '$key' | sudo -u git tee -a /srv/git/.ssh/authorized_keys" && types "$1" ''
}

# --- what docs/install.md says, in its order ---

makes_the_remote() {
  types_and_returns hub 30 'sudo adduser --quiet --system --group --home /srv/git --shell /usr/bin/git-shell git' &&
    types_and_returns hub 10 'sudo -u git mkdir -m 700 /srv/git/.ssh' &&
    types_and_returns hub 10 'sudo -u git git init --quiet --bare -b main /srv/git/fleet.git'
}
installs() { # terminal number words
  types "$1" "cd '${checkout[$2]}' && sudo make install $3" && sees "$1" 120 'next: sudo s2 init'
}
remote=ssh://git@hub.example.net/srv/git/fleet.git
orchestrator_is_asked() {
  types hub 'sudo s2 init' &&
    answers hub 'At which name or address do workers reach the bridge' hub.example.net &&
    answers hub 'Its certificate:' '' &&
    answers hub 'Which git remote' "$remote" &&
    answers hub 'Is it the right one' yes &&
    lets_in hub &&
    answers hub 'Which command wakes the agent' '' &&
    answers hub 'Start s2-bridge, s2-watchdog, s2-cred-sync, s2-keepalive now' yes &&
    answers hub 'Which worker do you want to invite' 1:backend &&
    answers hub 'Another one' ''
}
worker_is_asked() { # what the orchestrator's host printed is pasted
  local line
  line=$(screen_of hub | grep -o 's2-join-[A-Za-z0-9_-]*' | tail -n 1)
  [ -n "$line" ] || { screen_of hub | tail -n 20; return 1; }
  types worker 'sudo s2 init --role worker' &&
    answers worker 'Which line did .s2 worker invite. print' "$line" &&
    answers worker 'Is it the right one' yes &&
    lets_in worker &&
    answers worker 'Which command wakes the agent' '' &&
    answers worker 'Start s2-cred-sync, s2-keepalive now' yes &&
    sees worker 60 'this host is in the fleet'
}
a_task_is_done() {
  types worker "sudo s2 work --exec 'echo done on \$(hostname)'" && sees worker 60 'waiting for work' &&
    types_and_returns hub 30 "sudo s2 task add 'say hello' --role backend" &&
    sees worker 60 'done on build-2' && sees worker 60 'is completed'
}

chapter 'two hosts, by what docs/install.md says and nothing else'
two_hosts() {
  local began typed_at
  check 'they have what an operator has: sudo and ssh' eval 'prepare_host 13 && prepare_host 12' || return
  check 'and a cable between them' lay_cable || return
  check 'Debian 13 boots' boot_host 13 && check 'Debian 12 boots' boot_host 12 || return
  check 'uninstall with PURGE=1 takes all of what was there' eval 'purged 13 && purged 12'
  check 'terminals open' eval 'terminal hub 13 && terminal second 13 && terminal worker 12' || return
  began=$(date +%s.%N)
  check 'a git remote on the orchestrator itself' makes_the_remote || return
  check 'the orchestrator is installed' installs hub 13 '' || return
  check 's2 init asks, tests, starts and invites' orchestrator_is_asked || return
  check 'and says what is left to do' sees hub 60 'sudo make install ROLE=worker' || return
  check 'the worker is installed' installs worker 12 ROLE=worker || return
  check 's2 init there asks, tests, starts and joins' worker_is_asked || return
  check 'with nothing left to do' sees worker 10 'Nothing is left to do'
  check 'the first task is done on the second host' a_task_is_done || return
  typed_at=$(seconds "$began")
  check 'both are alive' types_and_says_alive
  check 'nobody was told of anything' no_incident
  check 'nothing went to the journal as an error' no_error_told
  printf '%6s s          from the first key to the first task, %s lines of %s characters typed in all\n' "$typed_at" "$lines_typed" "$characters_typed"
  check 's2 certificate renews the one that was made' eval 'types hub "sudo s2 certificate create" && sees hub 30 "/etc/s2/tls/bridge.crt"'
  check 'and shows it, good for as long as it was made' eval 'types hub "sudo s2 certificate show" && sees hub 30 "hub.example.net"'
  check 'Ctrl-C ends the agent, and the operator logs out' logs_out
  check 'both hosts lose their power and boot again' eval 'reboots 13 && reboots 12' || return
  check 'and are a fleet by themselves' within 60 fleet_is_alive
}
types_and_says_alive() { types hub 'sudo s2 status' && sees hub 20 '^2 agents, 2 alive'; }
fleet_is_alive() { at_host 13 s2 status | grep -q '^2 agents, 2 alive'; }
no_incident() { [ "$(at_host 13 s2 incident list --json)" = '[]' ] || { at_host 13 s2 incident list; return 1; }; }
no_error_told() {
  local told one
  told=$(for one in 13 12; do at_host "$one" journalctl --quiet --no-pager -p err -u 's2-*' --since "@${began%.*}"; done)
  [ -z "$told" ] || { echo "$told"; return 1; }
}
logs_out() {
  tmux -S "$tmux_socket" send-keys -t worker C-c
  sees worker 30 "$prompt" || return
  for one in worker second hub; do types "$one" exit; done
  within 20 eval '! tmux -S "$tmux_socket" list-sessions'
}
reboots() { # number
  kill -KILL "${leader_of[$1]}" && wait "${manager_of[$1]}"
  boot_host "$1"
}
two_hosts
end_hosts
