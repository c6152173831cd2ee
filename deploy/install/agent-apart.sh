# The agent of a worker as a user apart from that of the services (AGENT_APART). A group joins the two in three folders: the agent
# may write inbox, outbox and what its client tells by hooks, and read its credential and what is known of its client. Everything else
# is closed to it.
# shellcheck shell=sh

shared_group=s2-agent
# What she may write: mail, what her client tells by hooks, and what `s2 work` notes of her tasks.
agent_folders='inbox outbox held agents/events agents/told agents/running agents/said agents/logs agents/tasks agents/spent'
worker_folder() { if [ "$ROLE" = both ]; then echo "$worker_state"; else echo "$STATE"; fi; }
worker_user() { if [ "$ROLE" = both ]; then echo "$worker_owner"; else echo "$owner"; fi; }
members() { # of the group, also those whose first group it is
  getent group "$shared_group" | cut -d: -f4 | tr ',' '\n'
  getent passwd | awk -F: -v gid="$(getent group "$shared_group" | cut -d: -f3)" 'gid != "" && $4 == gid { print $1 }'
}
is_member() { members | grep -qxF "$1"; } # user

check_agent_apart() {
  [ -n "$AGENT_APART" ] || return 0
  getent passwd "$AGENT_APART" >/dev/null || fail "there is no user $AGENT_APART" 'AGENT_APART names the user whose agent does the tasks' 64
  [ "$(id -u "$AGENT_APART")" != 0 ] || fail 'an agent does not run as root' 'AGENT_APART names an ordinary user' 64
  [ "$AGENT_APART" != "$(worker_user)" ] || fail "$AGENT_APART is the user of the services" 'AGENT_APART names another one' 64
  for member in $(members); do
    case $member in "$AGENT_APART" | "$(worker_user)" | "$was_apart") continue ;; esac
    fail "$member is in the group $shared_group too, and would read the credential" "gpasswd --delete $member $shared_group, or rename that group"
  done
  command -v groupadd >/dev/null && command -v gpasswd >/dev/null ||
    fail 'groupadd or gpasswd is missing' 'install them (Debian: apt-get install passwd), or leave AGENT_APART away'
}

# Runs lines as the services' user in the folder: what an agent plants there leads root nowhere.
as_worker() { # lines
  (cd "$(real "$(worker_folder)")" && setpriv --reuid="$(worker_user)" --regid="$(id -gn "$(worker_user)")" --init-groups sh -euc "$1" sh "$shared_group" "$agent_folders")
}
# shellcheck disable=SC2086 # the names of folders are words
is_shared() {
  is_member "$(worker_user)" && is_member "$AGENT_APART" &&
    [ "$(cd "$(real "$(worker_folder)")" && stat -c '%U:%G %a' . $agent_folders credentials agents 2>/dev/null | tr '\n' ' ')" = \
      "$(printf "$(worker_user):$shared_group %s " 710 $(printf '2770 %.0s' $agent_folders) 2750 2750)" ]
}

# Settles who shares the folders, and changes nothing where it is so already.
lay_agent_apart() {
  for_host || return 0
  if [ -z "$AGENT_APART" ]; then
    # Asked for once more, it also mends what was cut off after the installation was written down.
    [ -z "$was_apart" ] && [ "$asked_apart" != none ] || [ "$ROLE" = orchestrator ] || take_agent_apart
    return 0
  fi
  [ -z "$was_apart" ] || [ "$was_apart" = "$AGENT_APART" ] || ! is_member "$was_apart" || gpasswd --delete "$was_apart" "$shared_group" >/dev/null
  ! is_shared || return 0
  pause_services "$(worker_folder)" # a process has the groups of its start
  getent group "$shared_group" >/dev/null || groupadd --system "$shared_group"
  usermod --append --groups "$shared_group" "$(worker_user)"
  # The set-group-ID bit hands the group on, and tells S2 that a folder is shared. The way in is opened last.
  # shellcheck disable=SC2016 # another shell reads it
  as_worker 'umask 077; chmod 700 .; mkdir -p $2 credentials
    find inbox outbox held credentials agents -user "$(id -un)" ! -type l ! -name door.json -exec chgrp "$1" {} +
    find $2 -user "$(id -un)" -type d -exec chmod 2770 {} +
    find inbox outbox held credentials agents -user "$(id -un)" -type f ! -name door.json -exec chmod 640 {} +
    chmod 2750 credentials agents; [ ! -d agents/sessions ] || chmod 2750 agents/sessions; chgrp "$1" .; chmod 710 .'
  usermod --append --groups "$shared_group" "$AGENT_APART"
  say "$AGENT_APART shares inbox and outbox of $(worker_folder) and reads its credential, from its next login on"
}

# The folders are the services' alone again.
take_agent_apart() {
  getent group "$shared_group" >/dev/null || return 0
  pause_services "$(worker_folder)"
  as_worker 'chmod 700 .; chgrp "$(id -gn)" .; mkdir -p held agents'
  (cd "$(real "$(worker_folder)")" && chown -R -P "$(worker_user):$(id -gn "$(worker_user)")" inbox outbox held credentials agents)
  as_worker 'find inbox outbox held credentials agents -type d -exec chmod 0700 {} + -exec chmod g-s {} +; find inbox outbox held credentials agents -type f -exec chmod 600 {} +'
  groupdel "$shared_group"
  say "${was_apart:-the agent} has no part in $(worker_folder) any more; a session that is open keeps its groups, and finds the folder closed"
}

# With the data the group goes; where data stay, it stays with them.
remove_agent_group() {
  for_host && [ -n "$AGENT_APART" ] && [ -z "$kept$(other_installations)" ] || return 0
  ! getent group "$shared_group" >/dev/null || groupdel "$shared_group" || true
}
