# Sourced from the root of the checkout, by every make rule and by people: the project's Node and the tools of
# node_modules come first in PATH, and npm keeps the machine's settings although another Node runs it.
# shellcheck shell=sh

# npm needs a cache it can write; accounts without a home (containers, service users) get one in the checkout.
if [ ! -w "${HOME:-/nonexistent}" ] && [ -z "${npm_config_cache:-}" ]; then
  export npm_config_cache="$PWD/.toolchain/npm-cache"
fi

node_bin=$(./deploy/node.sh) || return 1 2>/dev/null || exit 1
ours=$node_bin:$PWD/node_modules/.bin:
case $PATH in "$ours"*) ;; *) export PATH="$ours$PATH" ;; esac

# node-gyp must compile against this Node's headers. A nodedir in a user's npmrc would win otherwise, compile
# against another Node in silence, and the module would fail only when it is loaded. This spelling is for npm 11+.
export npm_package_config_node_gyp_nodedir="${node_bin%/bin}"

npm() {
  (
    # npm looks for the machine's settings (registry, proxy, certificates) beside the Node that runs it. Ask the
    # machine's own pair where they are, then run under ours.
    machine=$(env PATH="${PATH#"$ours"}" npm config get globalconfig 2>/dev/null) || machine=
    case $machine in /*) export npm_config_globalconfig="$machine" ;; esac
    case $(command npm --version 2>/dev/null) in
      [1-9].* | 10.*) export npm_config_nodedir="$npm_package_config_node_gyp_nodedir" ;; # npm 10 knows only this, npm 11 warns of it
    esac
    command npm "$@"
  )
}
