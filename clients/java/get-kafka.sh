#!/usr/bin/env bash
# get-kafka.sh DIR: copies the jars that pom.xml names, and what they need, into DIR/libs, and takes the schemas of Kafka's
# messages out of them, into DIR/messages. Does nothing when they are there.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: get-kafka.sh DIR" >&2; exit 2; }
pom=$(cd "$(dirname "$0")" && pwd)/pom.xml
mkdir -p "$1"
dir=$(cd "$1" && pwd)

# The copy of pom.xml is written last: with it the jars are complete.
cmp -s "$pom" "$dir/pom.xml" && [ -d "$dir/messages" ] && exit 0
rm -rf "$dir/libs" "$dir/messages" "$dir/pom.xml"
mvn -q -B -f "$pom" dependency:copy-dependencies -DoutputDirectory="$dir/libs" -DincludeScope=runtime
mkdir "$dir/messages"
(cd "$dir/messages" && jar --extract --file "$(ls "$dir"/libs/kafka-clients-*.jar)" common/message)
cp "$pom" "$dir/pom.xml"
