#!/usr/bin/env bash
# setup.sh [kcat|java|go|franz|python|kafkajs|rust]...: installs what the suites need and what is not there yet; without a name for all of them.
#
# kcat comes from the system's packages, everything else into .cache. A language that is not installed (java with mvn, go,
# python3, node with npm, cargo) is named and left to its owner; run.sh says what it cannot run.
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
  python_folder venv requirements.txt
}

setup_python() {
  python_folder venv-pure pure-requirements.txt
}

# python_folder NAME REQUIREMENTS: a folder of Python packages.
python_folder() {
  has python3 || return 0
  # The copy of the requirements is written last: with it the folder is complete.
  cmp -s "$here/python/$2" "$cache/$1/requirements.txt" && return 0
  rm -rf "${cache:?}/$1"
  python3 -m venv "$cache/$1"
  "$cache/$1/bin/pip" install -q --only-binary :all: -r "$here/python/$2"
  cp "$here/python/$2" "$cache/$1/requirements.txt"
}

setup_java() {
  has java || return 0
  if [ -z "${KAFKA_HOME:-}" ]; then
    has mvn || return 0
    "$here/java/get-kafka.sh" "$cache/kafka"
  fi
  has javac || return 0
  # What runs Kafka's tools, and takes out of what they say what differs every time.
  if [ -n "$(find "$here"/tools/*.java -newer "$cache/java/Tools.class" 2>&1)" ]; then
    javac -encoding UTF-8 -d "$cache/java" -cp "${KAFKA_HOME:-$cache/kafka}/libs/*" "$here"/tools/*.java
  fi
  if [ -n "$(find "$here"/java/*.java -newer "$cache/java/Clients.class" 2>&1)" ]; then
    javac -encoding UTF-8 -d "$cache/java" -cp "${KAFKA_HOME:-$cache/kafka}/libs/*" "$here"/java/*.java
  fi
}

setup_go() {
  has go || return 0
  (cd "$here/go" && go build -o "$cache/go/clients" .)
}

setup_franz() {
  has go || return 0
  "$here/franz/build.sh" "$cache/franz"
}

setup_kafkajs() {
  has node || return 0
  has npm || return 0
  # As above.
  cmp -s "$here/kafkajs/package-lock.json" "$cache/kafkajs/complete" && return 0
  rm -rf "$cache/kafkajs"
  mkdir "$cache/kafkajs"
  cp "$here/kafkajs/package.json" "$here/kafkajs/package-lock.json" "$cache/kafkajs/"
  (cd "$cache/kafkajs" && npm ci --silent --ignore-scripts --no-audit --no-fund)
  cp "$here/kafkajs/package-lock.json" "$cache/kafkajs/complete"
}

setup_rust() {
  has cargo || return 0
  (cd "$here/rust" && CARGO_TARGET_DIR=$cache/rust cargo build -q --locked)
}

[ $# -gt 0 ] || set -- kcat java go franz python kafkajs rust
for suite in "$@"; do
  case $suite in
    kcat | java | go | franz | python | kafkajs | rust) "setup_$suite" ;;
    *) echo "usage: setup.sh [kcat|java|go|franz|python|kafkajs|rust]..." >&2; exit 2 ;;
  esac
done
