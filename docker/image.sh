#!/bin/sh
# Makes the container image. Without BASE, docker builds it from the sources on Node's official image. With BASE=image, a local
# image of Debian 12 or newer, the build of this checkout is added to that image; packages that the base lacks of
# ca-certificates, git, libcurl3-gnutls, openssh-client and tini are fetched from Debian.
#   [IMAGE=s2] [BASE=image] [NODE=image with git] [http_proxy=…] docker/image.sh
set -eu
cd "$(dirname "$0")/.."

command -v docker >/dev/null || { printf 's2: docker is missing\n  next: install it (Debian: apt-get install docker.io)\n' >&2; exit 1; }
docker version >/dev/null 2>&1 || { printf 's2: the docker engine does not answer\n  next: start it, or name it in DOCKER_HOST; docker version says more\n' >&2; exit 1; }

set -- --tag "${IMAGE:-s2}" --file "$PWD/docker/Dockerfile" \
  --build-arg "VERSION=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)" \
  --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" --build-arg http_proxy --build-arg https_proxy

[ -n "${BASE:-}" ] || exec docker build "$@" .

. ./deploy/env.sh
context=$(mktemp -d)
completed=s2-base-$$
clean() {
  rm -rf "$context"
  docker rm --force --volumes "$completed" >/dev/null 2>&1 || true
  docker image rm "$completed" >/dev/null 2>&1 || true # only its name: images built on it keep its content
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

docker image inspect "$BASE" >/dev/null 2>&1 || docker pull "$BASE" ||
  { printf 's2: there is no image %s\n  next: docker image ls shows those that are here; debootstrap and docker import make one\n' "$BASE" >&2; exit 1; }
# The base is completed first, because this may fail and the rest takes long. It becomes one layer, without the removed files.
git=yes
[ -z "${NODE:-}" ] || git=no
docker run --interactive --name "$completed" --user 0:0 --env http_proxy --env https_proxy --entrypoint sh "$BASE" -s "$git" <docker/base.sh && status=0 || status=$?
case $status in
  0) docker export "$completed" | docker import - "$completed" >/dev/null; BASE=$completed ;;
  3) ;; # it is complete as it is
  *) exit 1 ;;
esac

mkdir "$context/docker"
cp docker/ssh_config docker/entry.sh docker/healthy.sh "$context/docker/"
./deploy/release.sh "$context/release"
# Only debuggers need the symbols; those that native modules link with stay.
if command -v strip >/dev/null; then
  find "$context/release" \( -path '*/bin/node' -o -name '*.node' \) -exec strip --strip-unneeded {} +
else
  echo 's2: Node keeps its symbols, 15 to 25 MB, as this machine has no strip; apt-get install binutils brings it'
fi
docker build "$@" --build-arg "BASE=$BASE" --build-arg "NODE=${NODE:-$BASE}" "$context"
mb() { echo "$(($(docker image inspect --format '{{.Size}}' "$1") / 1000000)) MB"; }
printf 's2: the image %s has %s; what it stands on, %s\n' "${IMAGE:-s2}" "$(mb "${IMAGE:-s2}")" "$(mb "$BASE")"
