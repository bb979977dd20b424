#!/usr/bin/env bash
# kafkajs's cases. See lib.sh for what is given; run by run.sh.
suite=kafkajs
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

command -v node > /dev/null || { missing "every case" "there is no node"; exit 0; }
[ -f "$CACHE/kafkajs/complete" ] || { missing "every case" "its packages are not there: see setup.sh"; exit 0; }
[ ! -x "$CACHE/go/clients" ] || export CODECS_OF="$CACHE/go/clients codecs" COMMITTED_OF="$CACHE/go/clients committed"
prepare_compacted kafkajs
exec node "$here/main.js" cases
