# Sourced from the root of the checkout, by every make rule and by people: the project's Node and the tools of
# node_modules come first in PATH, and npm is the project's too, with the settings of the machine's.
# shellcheck shell=sh

# npm needs a cache it can write; accounts without a home (containers, service users) get one in the checkout.
if [ ! -w "${HOME:-/nonexistent}" ] && [ -z "${npm_config_cache:-}" ]; then
  export npm_config_cache="$PWD/.toolchain/npm-cache"
fi

s2_root=$PWD
node_bin=$(./deploy/node.sh) || return 1 2>/dev/null || exit 1
ours=$node_bin:$PWD/node_modules/.bin:
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
