#!/bin/sh
# Installs a pre-commit hook into this checkout that runs the checks on what a commit changes: deploy/pre-commit.sh. A hook that
# somebody else put there stays as it is.
set -eu
cd "$(dirname "$0")/.."

hooks=$(git rev-parse --git-path hooks) || { printf 's2: this is no git checkout, so it has no hooks\n' >&2; exit 1; }
hook=$hooks/pre-commit
if [ -e "$hook" ] && ! grep -q '^exec deploy/pre-commit.sh$' "$hook"; then
  printf 's2: %s is there already, and it is not ours: nothing was changed\n  next: let it call deploy/pre-commit.sh, or move it away\n' "$hook" >&2
  exit 1
fi
mkdir -p "$hooks"
printf '#!/bin/sh\nexec deploy/pre-commit.sh\n' >"$hook"
chmod +x "$hook"
printf 'each commit is checked by %s; git commit --no-verify leaves that out\n' "$hook"
