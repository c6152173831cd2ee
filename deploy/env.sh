# Sourced from a folder of the checkout, by every make rule and by people: the project's Node, the tools of node_modules and the
# checkout's command s2 come first in PATH, and npm is the project's too, with the settings of the machine's.
# shellcheck shell=sh

# A plain sh cannot know where a file that it sources lies: the checkout is looked for upwards. bash says where.
s2_root=$PWD
# shellcheck disable=SC3028
case ${BASH_SOURCE:-} in
  */*) s2_root=$(CDPATH='' cd -- "${BASH_SOURCE%/*}/.." && pwd) ;;
  *) while [ -n "$s2_root" ] && [ ! -f "$s2_root/deploy/env.sh" ]; do s2_root=${s2_root%/*}; done ;;
esac
if [ ! -f "$s2_root/deploy/env.sh" ]; then
  echo 'deploy/env.sh: this shell does not tell where the project lies; cd into the folder of the project first' >&2
  return 1 2>/dev/null || exit 1
fi

# npm needs a cache it can write; accounts without a home (containers, service users) get one in the checkout.
if [ ! -w "${HOME:-/nonexistent}" ] && [ -z "${npm_config_cache:-}" ]; then
  export npm_config_cache="$s2_root/.toolchain/npm-cache"
fi

node_bin=$("$s2_root/deploy/node.sh") || return 1 2>/dev/null || exit 1
ours=$node_bin:$s2_root/node_modules/.bin:$s2_root/deploy/bin:
case $PATH in "$ours"*) ;; *) export PATH="$ours$PATH" ;; esac

on_the_machine() { (PATH=${PATH#"$ours"} && "$@"); }

npm() {
  (
    npm_bin=$(on_the_machine "$s2_root/deploy/npm.sh") || exit
    # npm looks for the machine's settings (registry, proxy, certificates) beside the Node that runs it, or where its
    # distribution put them. The machine's own pair knows where they are; ours runs under them.
    machine=$(on_the_machine command npm config get globalconfig 2>/dev/null) || machine=
    case $machine in /*) export npm_config_globalconfig="$machine" ;; esac
    # Authorities that a company put into the system's store count here as they do for the distribution's own Node.
    export PATH="$npm_bin:$PATH" NODE_USE_SYSTEM_CA=1
    command npm "$@"
  )
}
