#!/bin/sh
# Runs each argument as a command, all of them even when one fails, and ends with a count: one run tells everything.
passed=0
failed=0
for step in "$@"; do
  printf '== %s\n' "$step"
  if sh -c "$step"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf '== failed: %s\n' "$step"
  fi
done
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
