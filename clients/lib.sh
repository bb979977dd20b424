# Sourced by the suites: how a case is run and says its result. A suite sets `suite`, its name.
#
# From run.sh a suite gets BOOTSTRAP, the node's host:port; NODE, the node's folder, for `node.sh crash`; SCRATCH, a folder
# of its own; CACHE, where setup.sh has put things.

pass() { echo "pass $suite: $1"; }
fail() { echo "FAIL $suite: $1: $2"; }
skip() { echo "skip $suite: $1: $2"; }

# A tool that is not installed: no news on somebody's machine, a failure where everything has to run.
missing() {
  if [ "${CI:-}" = true ]; then fail "$1" "$2"; else skip "$1" "$2"; fi
}

# check NAME COMMAND...: one case, which ends at its first command that fails. What it printed is the reason then; else a last
# line "note: ..." is told with the pass.
check() {
  local name=$1 output code
  shift
  output=$(set -e; "$@" 2>&1 < /dev/null)
  code=$?
  if [ $code -eq 0 ]; then
    pass "$name$(sed -n '$ s/^note: \(.*\)/ (\1)/p' <<< "$output")"
  else
    fail "$name" "$(tail -n 12 <<< "${output:-exit code $code}" | cut -c1-400 | awk 'NR > 1 { printf " | " } { printf "%s", $0 }')"
  fi
}

# same WHAT GOT WANT
same() {
  [ "$2" = "$3" ] && return 0
  echo "$1: got «$2», want «$3»"
  return 1
}

# contains WHAT GOT PART
contains() {
  [[ "$2" == *"$3"* ]] && return 0
  echo "$1: «$2» does not contain «$3»"
  return 1
}

# same_file WHAT GOT WANT: two files, line by line.
same_file() {
  cmp -s "$2" "$3" && return 0
  echo "$1: $(wc -l < "$2") lines, want $(wc -l < "$3"); first differences: $(diff "$2" "$3" | grep '^[<>]' | cut -c1-80 | head -n 4 | tr '\n' ' ')"
  return 1
}
