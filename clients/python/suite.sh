#!/usr/bin/env bash
# kafka-python's and aiokafka's cases. See lib.sh for what is given; run by run.sh.
suite=python
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

[ -x "$CACHE/venv-pure/bin/python" ] || { missing "every case" "its packages are not there: see setup.sh"; exit 0; }
[ ! -x "$CACHE/go/clients" ] || export CODECS_OF="$CACHE/go/clients codecs" COMMITTED_OF="$CACHE/go/clients committed"
prepare_compacted kafka-python aiokafka
exec "$CACHE/venv-pure/bin/python" "$here/pure.py" cases
