#!/bin/sh
# Installs what package-lock.json names, once: `make setup` runs it only when the lock is newer than the last success, or
# when a compiler has come that was missing then.
set -eu
cd "$(dirname "$0")/.."
began_all=$(date +%s)

missing=
for tool in git make npm; do
  command -v "$tool" >/dev/null || missing="$missing $tool"
done
if [ -n "$missing" ]; then
  printf '%s\n' "s2: missing on this machine:$missing" \
    "    next: install with your package manager (Debian and Ubuntu: apt-get install$missing) and run make setup again." \
    '    npm fetches everything, git brings credentials.' >&2
  exit 1
fi
for place in . .toolchain node_modules dist; do
  [ ! -e "$place" ] || [ -w "$place" ] || {
    printf '%s\n' "s2: $PWD/$place belongs to $(stat -c %U "$place"), and $(id -un) cannot write it." \
      "    next: have the checkout given back to its owner (sudo chown -R OWNER '$PWD'), and run make setup as that user." >&2
    exit 1
  }
done

# Two makes in one checkout would empty node_modules under each other's feet.
mkdir -p .toolchain
if command -v flock >/dev/null; then
  exec 9>.toolchain/setup.lock
  flock --nonblock 9 || { echo 's2: another make sets up this checkout; this one goes on when that has ended' >&2 && flock 9; }
fi

. ./deploy/env.sh
. ./deploy/progress.sh

# npm can leave files cut off on a full disk, and call that a success.
is_full() { [ "$(df -Pk node_modules | awk 'NR == 2 { print $4 }')" -lt 10000 ]; }

install_packages() {
  on_the_machine ./deploy/npm.sh >/dev/null
  touch .toolchain/setup.began
  log=.toolchain/npm.log
  if ! told 'installing the packages' node_modules npm ci --ignore-scripts --loglevel=error --fetch-timeout=60000 \
    --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    if grep -q ENOSPC "$log" || is_full; then
      printf '%s\n' 's2: the disk is full; what npm said is above.' '    next: make room (df -h .) and run make setup again: it takes 450 MB.'
    elif grep -qE 'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|CERT|FETCH_ERROR' "$log"; then
      printf '%s\n' 's2: npm could not reach its registry; its own words are above.' \
        '    next: registry, proxy and cafile are settings of npm (npm config list). Once it is reached, run make setup again.'
    else
      printf '%s\n' 's2: npm ci failed; its own words are above.' '    next: once the cause is gone, run make setup again.'
    fi >&2
    exit 1
  fi
  # Packages that are not those of the lock would come to light only in the middle of a run.
  node -e "new (require('better-sqlite3'))(':memory:').close()" || {
    if is_full; then
      printf '%s\n' 's2: the disk is full.' '    next: make room (df -h .) and run make setup again: it takes 450 MB.'
    else
      printf '%s\n' 's2: better-sqlite3 does not load on this machine; what it said is above.' \
        '    next: run make distclean and make setup, and tell us if it stays so.'
    fi >&2
    exit 1
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
