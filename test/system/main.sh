#!/bin/bash
# Runs the system tests one after the other, or those that are named, and ends with the sum of all: `N passed, N failed`.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=test/parts.sh
. "$here/../parts.sh"

# The minutes that each may take; together they stay below what the whole may.
declare -A minutes=([systemd]=17 [docker]=12 [evidence]=6 [nine]=12 [fresh]=28)
[ $# -gt 0 ] || set -- systemd docker evidence nine fresh
for name in "$@"; do
  [ -n "${minutes[$name]:-}" ] || { echo "there is no system test $name: name some of ${!minutes[*]}" >&2; exit 64; }
done
for name in "$@"; do part "$name" "$((minutes[$name] * 60))" "$here/$name.sh"; done
sum_up
