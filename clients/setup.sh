#!/usr/bin/env bash
# setup.sh [kcat|java|go]...: installs what the suites need and what is not there yet; without a name for all of them.
#
# kcat comes from the system's packages, librdkafka's bindings, Kafka's jars and franz-go into .cache. A language that is not
# installed (java with mvn, go, python3) is named and left to its owner; run.sh says what it cannot run.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$here/.cache
mkdir -p "$cache"

has() {
  command -v "$1" > /dev/null && return 0
  echo "setup.sh: there is no $1" >&2
  return 1
}

setup_kcat() {
  if ! command -v kcat > /dev/null && command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
    apt-get -q -y update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends kcat
  fi
  has kcat || true
  has python3 || return 0
  # The copy of the requirements is written last: with it the folder is complete.
  if ! cmp -s "$here/python/requirements.txt" "$cache/venv/requirements.txt"; then
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --only-binary :all: -r "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" "$cache/venv/requirements.txt"
  fi
}

setup_java() {
  has java || return 0
  [ -z "${KAFKA_HOME:-}" ] || return 0
  has mvn || return 0
  "$here/java/get-kafka.sh" "$cache/kafka"
}

setup_go() {
  has go || return 0
  (cd "$here/go" && go build -o "$cache/go/clients" .)
}

[ $# -gt 0 ] || set -- kcat java go
for suite in "$@"; do
  case $suite in
    kcat | java | go) "setup_$suite" ;;
    *) echo "usage: setup.sh [kcat|java|go]..." >&2; exit 2 ;;
  esac
done
