#!/bin/sh
# Prints the folder of the clients that `make test-agents` plays with, Claude Code and Codex, in the versions of package-lock.json
# beside this script, installed once from npm into .toolchain/. TEST_CLIENTS names a node_modules where they are already.
# Where they cannot be had it says why and ends with 75 (try again later); a run of CI (CI=true) takes that for a failure.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
# shellcheck source=deploy/progress.sh
. ./deploy/progress.sh
# shellcheck source=deploy/env.sh
. ./deploy/env.sh

cannot() { # why next
  printf '%s\n' "s2: the clients cannot be had: $1" "    next: $2" >&2
  exit 75
}

# Both start and say the versions of the lock, or they are none of ours.
usable() { # node_modules
  for wanted in claude:@anthropic-ai/claude-code codex:@openai/codex; do
    version=$(node -p 'require(process.argv[1]).dependencies[process.argv[2]]' "$here/package.json" "${wanted#*:}")
    case $(HOME=/nonexistent timeout 60 "$1/.bin/${wanted%%:*}" --version 2>/dev/null) in *"$version"*) ;; *) return 1 ;; esac
  done
  printf '%s\n' "$1"
}

if [ -n "${TEST_CLIENTS:-}" ]; then
  usable "$TEST_CLIENTS" || cannot "$TEST_CLIENTS (TEST_CLIENTS) has not both in the versions of $here/package.json" 'unset it, and they are installed'
  exit 0
fi

place=$PWD/.toolchain/agents
sum=$(cat "$here/package-lock.json" "$here/package.json" | sha256sum | cut -c 1-16)
if [ -e "$place/$sum" ] && usable "$place/node_modules"; then exit 0; fi
command -v tmux >/dev/null || cannot 'tmux is missing, in which they are played' 'install it (Debian and Ubuntu: apt-get install tmux)'
rm -rf "$place"
mkdir -p "$place"
cp "$here/package.json" "$here/package-lock.json" .npmrc "$place/"
cd "$place"
if ! told 'installing Claude Code and Codex for their tests (800 MB)' "$place" npm ci --ignore-scripts --loglevel=error \
  --fetch-timeout=60000 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 >npm.log 2>&1 </dev/null; then
  cat npm.log >&2
  cannot 'npm could not install them; its own words are above' 'see npm config list and df -h ., and run this again'
fi
# Of all packages this is the one whose script is run: it puts the program of this platform in its place.
node node_modules/@anthropic-ai/claude-code/install.cjs >npm.log 2>&1 || cannot "$(cat npm.log)" 'run this again'
usable "$place/node_modules" || cannot 'what was installed does not start on this machine' 'see whether its processor and libc are among those of the lock'
touch "$sum"
