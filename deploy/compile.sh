#!/bin/sh
# Compiles the two native modules against the project's Node, and sees that they load there. S2 runs without them too, so
# where there is no compiler, or one that does not get them done, set-up goes on; node_modules/.uncompiled then says with what.
#   deploy/compile.sh         compiles
#   deploy/compile.sh --due   tells whether there is a compiler that has not been tried yet
set -eu
cd "$(dirname "$0")/.."

# Names what compiles; says nothing where something is missing.
compiler() {
  command -v python3 >/dev/null && "${CXX:-g++}" --version 2>/dev/null | sed -n "1s|^|${CXX:-g++}: |p"
}

uncompiled=node_modules/.uncompiled
if [ "${1:-}" = --due ]; then
  [ ! -f $uncompiled ] || [ "$(cat $uncompiled)" = "$(compiler)" ] || echo due
  exit
fi

# What takes their place, and how to have them all the same.
go_without() { # why what-next
  printf '%s\n' "s2: $1: folders are watched by fs.watch instead of inotify, and systemd is told by systemd-notify." "    next: none is needed; $2" >&2
  rm -rf node_modules/node-inotify/build node_modules/unix-dgram/build
  compiler >$uncompiled || true
  exit 0
}

[ -n "$(compiler)" ] || go_without 'no compiler is here, and S2 runs without' \
  'to have the native modules compiled, install g++ and python3 (Debian and Ubuntu: apt-get install g++ python3) and run make setup.'

. ./deploy/env.sh
. ./deploy/progress.sh
gyp=$(on_the_machine ./deploy/npm.sh)/../lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js

# gyp takes a path with a space in it for two; for as long as it compiles, the headers have a name without one.
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
ln -s "${node_bin%/bin}" "$headers/node"
# This spelling wins over a nodedir in somebody's npmrc or environment, which would compile against another Node in silence.
export npm_package_config_node_gyp_nodedir="$headers/node"

log=$PWD/.toolchain/compile.log
compile() {
  for module in node-inotify unix-dgram; do
    node "$gyp" rebuild --directory "node_modules/$module" || return
  done
}
told 'compiling two native modules' node_modules/unix-dgram/build compile >"$log" 2>&1 </dev/null ||
  go_without "the native modules did not compile (what the compiler said is in $log), and S2 runs without" \
    'they want g++ with C++20 (GCC 10 or newer), make and python3; run make setup when those have come.'

# One that is linked with another Node's library ends the process that loads it.
loads() { # module what-to-do-with-it
  status=0
  { node -e "const native = require('./node_modules/$1'); $2"; } >>"$log" 2>&1 || status=$?
  [ "$status" -ne 0 ] || return 0
  how='does not load'
  [ "$status" -le 128 ] || how="crashes when it is loaded (SIG$(kill -l $((status - 128)) 2>/dev/null || echo "NAL $((status - 128))"))"
  go_without "$1 was compiled and $how (more is in $log), and S2 runs without" \
    'tell us what machine this is; make distclean and make setup try it again.'
}
loads node-inotify 'native.Inotify.IN_CREATE'
loads unix-dgram "native.createSocket('unix_dgram').close()"
# Not before: a run that is cut off is due again.
rm -f $uncompiled
