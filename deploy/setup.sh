#!/bin/sh
# Installs what package-lock.json names, once: `make setup` runs it only when the lock is newer than the last success, or
# when a compiler has come that was missing then.
set -eu
cd "$(dirname "$0")/.."
began_all=$(date +%s)
. ./deploy/progress.sh

missing=
for tool in git make npm; do
  command -v "$tool" >/dev/null || missing="$missing $tool"
done
[ -z "$missing" ] || fail "missing on this machine:$missing (npm fetches everything, git brings credentials)." \
  "install with your package manager (Debian and Ubuntu: apt-get install$missing) and run make setup again."
for place in . .toolchain node_modules dist; do
  [ ! -e "$place" ] || [ -w "$place" ] || fail "$PWD/$place belongs to $(stat -c %U "$place"), and $(id -un) cannot write it." \
    "have the checkout given back to its owner (sudo chown -R OWNER '$PWD'), and run make setup as that user."
done

# Two makes in one checkout would empty node_modules under each other's feet.
mkdir -p .toolchain
if command -v flock >/dev/null; then
  exec 9>.toolchain/setup.lock
  flock --nonblock 9 || { echo 's2: another make sets up this checkout; this one goes on when that has ended' >&2 && flock 9; }
fi

. ./deploy/env.sh

# npm can leave files cut off on a full disk, and call that a success.
is_full() { [ "$(df -Pk . | awk 'NR == 2 { print $4 }')" -lt 10000 ]; }
disk_full() { fail 'the disk is full; what was said is above.' 'make room (df -h .) and run make setup again: it takes 450 MB.'; }

install_packages() {
  on_the_machine ./deploy/npm.sh >/dev/null
  touch .toolchain/setup.began
  log=.toolchain/npm.log
  if ! told 'installing the packages' node_modules npm ci --ignore-scripts --loglevel=error --fetch-timeout=60000 \
    --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    if grep -q ENOSPC "$log" || is_full; then disk_full; fi
    if grep -qE 'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|CERT|FETCH_ERROR' "$log"; then
      fail 'npm could not reach its registry; its own words are above.' \
        'registry, proxy and cafile are settings of npm (npm config list). Once it is reached, run make setup again.'
    fi
    fail 'npm ci failed; its own words are above.' 'once the cause is gone, run make setup again.'
  fi
  # Packages that are not those of the lock would come to light only in the middle of a run.
  node -e "new (require('better-sqlite3'))(':memory:').close()" || {
    if is_full; then disk_full; fi
    fail 'better-sqlite3 does not load on this machine; what it said is above.' 'run make distclean and make setup, and tell us if it stays so.'
  }
  ./deploy/compile.sh
  # The stamp bears the time of the start: what was changed meanwhile is installed the next time.
  mv .toolchain/setup.began node_modules/.stamp
}

if [ -n "$(find package-lock.json package.json .npmrc deploy/node.sh -newer node_modules/.stamp 2>&1)" ]; then
  install_packages
elif [ -n "$(./deploy/compile.sh --due)" ]; then
  ./deploy/compile.sh
else
  exit 0 # somebody else did it meanwhile
fi
echo "s2: set up in $(($(date +%s) - began_all)) s; it stays, and the next start needs no network." >&2
