#!/usr/bin/env bash
# build.sh FOLDER: franz-go's tests of the versions in go.mod, and the program that runs and judges them.
set -euo pipefail

cd "$(dirname "$0")"
mkdir -p "$1"
go build -o "$1/franz" .
for name in kgo kadm; do
  go test -c -o "$1/$name.test" "github.com/twmb/franz-go/pkg/$name"
done
