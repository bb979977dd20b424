#!/usr/bin/env bash
# rskafka's cases. See lib.sh for what is given; run by run.sh.
suite=rust
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

[ -x "$CACHE/rust/debug/seedlog-clients" ] || { missing "every case" "its program is not there: see setup.sh"; exit 0; }
[ ! -x "$CACHE/go/clients" ] || export CODECS_OF="$CACHE/go/clients codecs"
env -u SEEDLOG_BIN "$SEEDLOG_BIN" topic create --bootstrap-server "$BOOTSTRAP" --topic rskafka-large --partitions 1 \
  --config max.message.bytes=3145728 > /dev/null
prepare_compacted
exec "$CACHE/rust/debug/seedlog-clients" cases
