#!/usr/bin/env bash
# franz-go's cases, then its producers across SIGKILL. See lib.sh for what is given; run by run.sh.
suite=go
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

command -v go > /dev/null || { missing "every case" "there is no go"; exit 0; }
(cd "$here" && go build -o "$CACHE/go/clients" .) || { fail "every case" "it does not build"; exit 1; }

failed=0
"$CACHE/go/clients" cases || failed=1
CRASH_HOOK="$here/../node.sh crash $NODE" "$CACHE/go/clients" crash || failed=1
exit $failed
