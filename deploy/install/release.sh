# Releases: each build is copied as a whole beside the releases before it.
# shellcheck shell=sh

# Marks the place as ours, and locks it until this process ends.
alone() {
  exec 9>"$at/.s2"
  flock --nonblock 9 || fail "another installation or removal is at work in $at" 'wait for its end, then try again'
}

# The name of a release is a hash of its content, so that installing the same again changes nothing.
release_id() {
  (cd "$here" && { cat package.json package-lock.json ./*.md; find dist systemd docs examples -name .s2 -prune -o -type f ! -name '.*' ! -name '*.jsonl' -print | LC_ALL=C sort | xargs cat; node --version; ls -d node_modules/node-inotify/build node_modules/unix-dgram/build 2>/dev/null; } | sha256sum | cut -c1-12)
}

# A first installation that fails leaves no trace.
leave_no_trace() { [ -e "$at/current" ] || [ -e "$at/installation" ] || rm -rf "$at"; }

lay_release() {
  release="$at/releases/$id"
  [ -f "$release/.whole" ] && return
  rm -rf "$release.part"
  copy_release "$release.part" || {
    rm -rf "$release.part"
    fail "the new version could not be copied to $at" 'see whether the disk is full; what was installed before is still in force'
  }
  rm -rf "$release"
  mv "$release.part" "$release"
}

copy_release() { # folder
  "$here/deploy/release.sh" "$1" &&
    sha256sum <"$1/bin/node" >"$1/bin/node.sum" &&
    cp -R "$here/systemd" "$1/systemd" &&
    chmod -R go=u-w "$1/systemd" || return
  # The same Node as before is linked, not copied.
  if [ -n "$before" ] && cmp -s "$1/bin/node" "$at/releases/$before/bin/node"; then
    ln -f "$at/releases/$before/bin/node" "$1/bin/node"
  fi
  touch "$1/.whole"
}

point_to() {
  ln -sfn "releases/$1" "$at/.current"
  mv -T "$at/.current" "$at/current"
}

take_old_releases() {
  for old in "$at"/releases/*; do
    name=$(basename "$old")
    case $name in "$id" | "$before") ;; *) live && is_in_use "$name" || rm -rf "$old" ;; esac
  done
}
