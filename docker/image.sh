#!/bin/sh
# Makes the container image. Without BASE, docker builds it from the sources on Node's official image. With BASE=image, any
# Debian 12 or newer that is there, nothing is fetched: what was built in this checkout goes onto that image.
#   [IMAGE=s2] [BASE=image] [NODE=image] docker/image.sh
set -eu
cd "$(dirname "$0")/.."

command -v docker >/dev/null || { printf 's2: docker is missing\n  next: install it (Debian: apt-get install docker.io)\n' >&2; exit 1; }
docker version >/dev/null 2>&1 || { printf 's2: the docker engine does not answer\n  next: start it, or name it in DOCKER_HOST; docker version says more\n' >&2; exit 1; }

set -- --tag "${IMAGE:-s2}" --file "$PWD/docker/Dockerfile" \
  --build-arg "VERSION=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)" \
  --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"

[ -n "${BASE:-}" ] || exec docker build "$@" .

. ./deploy/env.sh
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$context/docker"
cp docker/ssh_config docker/entry.sh docker/healthy.sh "$context/docker/"
./deploy/release.sh "$context/release"
docker build "$@" --build-arg "BASE=$BASE" --build-arg "NODE=${NODE:-$BASE}" "$context"
