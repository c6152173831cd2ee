#!/bin/sh
# Installs what package-lock.json names, once: `make setup` runs it only when the lock is newer than the last success.
set -eu
cd "$(dirname "$0")/.."

missing=
for tool in git make g++ python3 npm; do
  command -v "$tool" >/dev/null || missing="$missing $tool"
done
if [ -n "$missing" ]; then
  printf '%s\n' "s2: missing on this machine:$missing" \
    "    Install with your package manager (Debian and Ubuntu: apt-get install$missing) and run make setup again." \
    '    npm fetches everything, git brings credentials, the others compile two native modules.' >&2
  exit 1
fi

# Two makes in one checkout would empty node_modules under each other's feet.
mkdir -p .toolchain
if command -v flock >/dev/null; then
  exec 9>.toolchain/setup.lock
  flock 9
  if [ -z "$(find package-lock.json package.json .npmrc deploy/node.sh -newer node_modules/.stamp 2>&1)" ]; then exit 0; fi
fi

. ./deploy/env.sh

# gyp takes a path with a space in it for two; for as long as it compiles, the headers have a name without one.
case $npm_package_config_node_gyp_nodedir in
  *[[:space:]]*)
    plain=$(mktemp -d)
    trap 'rm -rf "$plain"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    ln -s "$npm_package_config_node_gyp_nodedir" "$plain/node"
    export npm_package_config_node_gyp_nodedir="$plain/node"
    ;;
esac

touch .toolchain/setup.began
log=.toolchain/npm.log
if ! npm ci --fetch-timeout=60000 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 2>"$log"; then
  cat "$log" >&2
  if grep -qE 'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|CERT|FETCH_ERROR' "$log"; then
    printf '%s\n' 's2: npm could not reach its registry; its own words are above.' \
      '    Registry, proxy and cafile are npm settings: see npm config list. Then run make setup again.' >&2
  elif grep -q 'gyp ERR' "$log"; then
    printf '%s\n' 's2: a native module did not compile; the compiler is quoted above.' \
      '    It needs g++ with C++20 (GCC 10 or newer), make and python3. Then run make setup again.' >&2
  else
    printf '%s\n' 's2: npm ci failed; its own words are above.' '    Once the cause is gone, run make setup again.' >&2
  fi
  exit 1
fi
grep -v 'Unknown user config' "$log" >&2 || true

# A module that was compiled against another Node, or not at all, would come to light only in the middle of a run.
node --input-type=module -e "
  for (const name of ['better-sqlite3', 'node-inotify', 'unix-dgram']) await import(name)
  new (await import('better-sqlite3')).default(':memory:').close()
" || {
  echo 's2: the native modules do not load; run make distclean and make setup, and tell us if it stays so.' >&2
  exit 1
}
# The stamp bears the time of the start: what was changed meanwhile is installed the next time.
mv .toolchain/setup.began node_modules/.stamp
