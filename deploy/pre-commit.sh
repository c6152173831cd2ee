#!/bin/sh
# The pre-commit hook: checks the checkout as it is, and only the documents where a commit changes nothing else. Git runs it in
# the root of the working tree.
set -eu

# Git tells its hooks of the commit that it makes, which would mislead every other git that the checks run.
changed=$(git diff --cached --name-only)
# shellcheck disable=SC2046 # they are names without blanks
unset $(git rev-parse --local-env-vars)

[ -n "$changed" ] || exit 0
if printf '%s\n' "$changed" | grep -qv '\.md$'; then exec make check; else exec make check-docs; fi
