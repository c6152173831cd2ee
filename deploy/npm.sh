#!/bin/sh
# Prints the folder of the npm that installs the packages, unpacked from the npm registry into .toolchain/ by the npm of the
# machine. That one may be of any age, and its compiling as its distribution wants it: Debian's links every native module
# with Debian's own libnode, which crashes in any other Node.
set -eu

# shellcheck source=deploy/fetch.sh
. "$(dirname "$0")/fetch.sh"

version=11.21.2
sha512=ec73c0a64f807e53146af4ac78bd4f9ba0a762a3081e4e77c7e2a6ba1aa64c3a8f9233cc8312294cf713aac13dd4428dc3880504957d7e75e249d1a6d435eaf4

home=$toolchain/npm-v$version
if [ ! -x "$home/bin/npm" ]; then
  fetch npm "$version" "$sha512" '3 MB'
  mkdir -p "$part/npm/bin" "$part/npm/lib/node_modules"
  mv "$part/package" "$part/npm/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$part/npm/bin/npm"
  chmod +x "$part/npm/lib/node_modules/npm/bin/npm-cli.js"
  [ -x "$home/bin/npm" ] || rm -rf "$home"
  settle "$part/npm" "$home"
fi
printf '%s\n' "$home/bin"
