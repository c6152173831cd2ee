# Two hosts by the README alone: an operator types at three terminals what "A second host" in the README says, and nothing else.
# Debian 13 becomes the orchestrator and has the git repository, Debian 12 the worker. Sourced by fresh.sh, which made both
# machines and left a checkout in each.
# shellcheck shell=bash

orchestrator=13 worker=12
declare -A namespace=([13]="s2-hub-$$" [12]="s2-worker-$$") address=([13]=10.77.0.1 [12]=10.77.0.2) manager_of=() leader_of=()
tmux_socket=$work/tmux
lines_typed=0 characters_typed=0

end_hosts() {
  tmux -S "$tmux_socket" kill-server 2>/dev/null
  [ ${#manager_of[@]} -eq 0 ] || { kill "${manager_of[@]}" && wait "${manager_of[@]}"; } 2>/dev/null
  for one in 13 12; do ip netns delete "${namespace[$one]}" 2>/dev/null; done
}
trap 'end_hosts; end_stories; rm -rf --one-file-system "$work"' EXIT

# --- the machines ---

prepare_host() { # number: what the operator of such a host has beside the README's packages, and nothing of S2
  on "$1" root 'DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends sudo openssh-server openssh-client &&
    echo "ann ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/ann && chmod 440 /etc/sudoers.d/ann' &&
    printf '127.0.0.1 localhost\n%s hub.example.net hub\n%s build-2.example.net build-2\n' "${address[13]}" "${address[12]}" >"$work/$1/etc/hosts" &&
    rm -f "$work/$1/etc/hostname" && name_of "$1" >"$work/$1/etc/hostname"
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
    --network-namespace-path="/run/netns/${namespace[$1]}" --directory="$work/$1" --machine="$(name_of "$1")" \
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
