#!/bin/sh
# Lays what a host runs into a folder: the bundles, the native modules that no bundle can hold, as far as they were compiled,
# and the Node that runs them. The installer makes its releases of it, and the container image its content.
# Wants a built checkout and the project's Node.
#   deploy/release.sh FOLDER
set -eu

[ $# -eq 1 ] || { echo 'usage: deploy/release.sh FOLDER' >&2; exit 64; }
here=$(cd "$(dirname "$0")/.." && pwd)
[ -f "$here/dist/s2.js" ] || { echo 's2: nothing is built here; run make build first' >&2; exit 1; }

mkdir -p "$1/bin"
cp "$(command -v node)" "$1/bin/node"
cp -R "$here/dist" "$1/dist"
cp "$here/package.json" "$here/LICENSE" "$here"/*.md "$1/"
(cd "$here" && node deploy/bill-of-materials.ts) >"$1/bill-of-materials.json"
# A fleet that was tried in an example leaves its state there, credentials among it: none of that is part of a release.
(cd "$here" && tar -cf - --exclude=.s2 --exclude='*.jsonl' docs examples) | tar -xf - -C "$1"
modules=better-sqlite3
# Where nothing was compiled, or for another Node than this one, the programs go by other means: they want no halves of a module.
for module in node-inotify unix-dgram; do
  if node -e 'require(process.argv[1])' "$here/node_modules/$module" >/dev/null 2>&1; then modules="$modules $module"; fi
done
[ "$modules" = better-sqlite3 ] || modules="$modules bindings file-uri-to-path"
for module in $modules; do
  mkdir -p "$1/node_modules/$module"
  (cd "$here/node_modules/$module" && tar -cf - --exclude=deps --exclude=src --exclude=obj.target --exclude='*.o' --exclude=test .) |
    tar -xf - -C "$1/node_modules/$module"
done
# It brings binaries for eight platforms, 14 MB that are not this one.
ours=linux-$(node -p process.arch).node
find "$1/node_modules/better-sqlite3/prebuilds" -name '*.node' ! -name "$ours" -exec rm {} +
chmod -R go=u-w "$1"
