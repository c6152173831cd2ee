#!/bin/sh
# Completes a base image for S2: runs in a container of it as root, with this script on standard input (see docker/image.sh).
# Installs the Debian packages that S2 needs, and removes what no container uses: documentation, completions, rare character
# sets. The argument says whether git is needed too. Exit code 3: the image is complete and small already.
set -eu

# cred-sync needs git itself and its HTTPS helper; the rest of the package needs 100 MB of Perl.
has_git() { [ "$1" = no ] || { command -v git && [ -e /usr/lib/git-core/git-remote-https ]; } >/dev/null; }
# The package has another name in each Debian, and is installed by the name that both know.
has_curl() { [ -n "$(find /usr/lib -name 'libcurl-gnutls.so.4*' -print -quit)" ]; }

missing=''
for package in ca-certificates openssh-client tini; do
  dpkg --status "$package" >/dev/null 2>&1 || missing="$missing $package"
done
has_curl || missing="$missing libcurl3-gnutls"

fail() {
  printf 's2: %s\n  next: %s\n' "$1" "$2" >&2
  exit 1
}
if [ -n "$missing" ] || ! has_git "$1"; then
  wanted="${missing# }"
  has_git "$1" || wanted="${wanted:+$wanted }git"
  printf 's2: the base has no %s: fetching from Debian\n' "$(echo "$wanted" | sed 's/ /, /g')"
  apt-get update -qq -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20 >/tmp/said 2>&1 ||
    fail "the base lacks $wanted, and its package lists cannot be fetched ($(grep -m 1 '^E:' /tmp/said || tail -n 1 /tmp/said))" \
      "give the build a network (http_proxy is handed on), or a base that has them: debootstrap --variant=minbase --include=$(echo "$wanted" | tr ' ' ,) …"
  if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # the list is split into words
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $missing >/tmp/said 2>&1 || { tail -n 5 /tmp/said >&2; fail "$missing cannot be installed into the base" 'mend what apt-get says'; }
  fi
  if ! has_git "$1"; then
    mkdir -p /tmp/git /usr/lib/git-core
    (cd /tmp/git && apt-get download -qq git && dpkg-deb -x git_*.deb .) >/tmp/said 2>&1 || { tail -n 5 /tmp/said >&2; fail 'git cannot be fetched' 'mend what apt-get says'; }
    cp /tmp/git/usr/bin/git /usr/bin/git
    cp -d /tmp/git/usr/lib/git-core/git-remote-http /tmp/git/usr/lib/git-core/git-remote-https /usr/lib/git-core/
  fi
elif [ "$(du -skc /usr/share/doc /usr/share/man /usr/share/locale /var/lib/apt/lists /var/cache/apt 2>/dev/null | tail -n 1 | cut -f 1)" -lt 20000 ]; then
  exit 3
fi

# Of libc's character sets those stay that newer Debians have without an extra package: Unicode and the Western European ones.
for folder in /usr/lib/*/gconv; do
  rare=$folder/gconv-modules.d/gconv-modules-extra.conf
  [ -e "$rare" ] || continue
  awk '$1 == "module" { print "/" $4 ".so" }' "$folder/gconv-modules" >/tmp/common
  find "$folder" -maxdepth 1 -name '*.so' | grep -vFf /tmp/common | xargs rm -f "$rare"
  iconvconfig # makes the index of those that are left
done
# Licences stay.
find /usr/share/doc -type f ! -name copyright -delete
rm -rf /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/bash-completion /usr/share/zoneinfo/right /usr/bin/tini-static /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old \
  /var/lib/dpkg/*-old /var/log/apt /var/log/*.log /tmp/git /tmp/said /tmp/common
