#!/bin/sh
# Plays with the real clients: all test files of this folder, or those named. The last line is `N passed, N failed`.
set -eu
cd "$(dirname "$0")/../.."

if TEST_CLIENTS=$(./test/agents/clients/install.sh); then
  export TEST_CLIENTS
  [ $# -gt 0 ] || set -- test/agents/*.test.ts
  exec node deploy/test.ts "$@"
fi
if [ "${CI:-}" = true ]; then
  echo '0 passed, 1 failed'
  exit 1
fi
echo 'skipped: all of it, as the clients cannot be had; why is said above'
echo '0 passed, 0 failed'
