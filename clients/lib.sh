# Sourced by the suites: how a case is run and says its result. A suite sets `suite`, its name.
#
# From run.sh a suite gets BOOTSTRAP, the node's host:port; NODE, the node's folder, for `node.sh crash`; SCRATCH, a folder
# of its own; CACHE, where setup.sh has put things; SEEDLOG_BIN and CHECKER_BIN, the binaries.

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

# prepare_compacted GROUP...: topics that the node has cleaned; what is left of each is in a file of its name in $COMPACTED, and the
# groups, GROUP-TOPIC, go on where nothing is left. See go/compacted.go. Without Go's clients there are none.
prepare_compacted() {
  [ -x "$CACHE/go/clients" ] || return 0
  mkdir -p "$SCRATCH/compacted"
  check "a compacted topic: the node cleans it" "$CACHE/go/clients" compacted "$SCRATCH/compacted" "$@"
  [ ! -f "$SCRATCH/compacted/compacted-long" ] || export COMPACTED=$SCRATCH/compacted
}

# ends TOPIC...: the topics' end offsets, each summed over its partitions, one a line.
ends() {
  local topic
  for topic in "$@"; do
    env -u SEEDLOG_BIN "$SEEDLOG_BIN" topic describe --bootstrap-server "$BOOTSTRAP" --topic "$topic" 2> /dev/null |
      awk '$1 == "PARTITION" { for (at = 1; $at != "LATEST"; at++) if (at > NF) exit 1; latest = at }
        $1 ~ /^[0-9]+$/ { sum += $latest }
        END { print sum + 0 }'
  done
}

# await_growth RECORDS TOPIC...: waits until each topic has that many records more.
await_growth() {
  local more=$1 topic start deadline=$((SECONDS + 100))
  shift
  for topic in "$@"; do
    start[${#start[@]}]=$(($(ends "$topic") + more))
  done
  for topic in "$@"; do
    until [ "$(ends "$topic")" -ge "${start[0]}" ]; do
      [ $SECONDS -lt $deadline ] || { echo "$topic does not get $more records in 100 s"; return 1; }
      sleep 0.02
    done
    start=("${start[@]:1}")
  done
}

# feed_across_crashes CRASHES FIFO... -- TOPIC...: writes numbered lines into every pipe, whose readers send each to its topic,
# and kills the node in the middle again and again. The lines are left in $SCRATCH/lines.
feed_across_crashes() {
  local crashes=$1 fifos=() feeder crash
  shift
  while [ "$1" != -- ]; do fifos+=("$1"); shift; done
  shift
  rm -f "$SCRATCH/fed"
  numbered_lines | tee "${fifos[@]}" > "$SCRATCH/lines" &
  feeder=$!
  for ((crash = 1; crash <= crashes; crash++)); do
    await_growth 1000 "$@" || break
    sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
    "$here/../node.sh" crash "$NODE" > /dev/null || break
  done
  [ $crash -gt "$crashes" ] && await_growth 1000 "$@"
  local code=$?
  touch "$SCRATCH/fed"
  wait $feeder
  return $code
}

numbered_lines() {
  local number=0 last text='seedlog seedlog seedlog seedlog seedlog seedlog'
  until [ -f "$SCRATCH/fed" ]; do
    for ((last = number + 100; number < last; number++)); do
      printf '%08d %s\n' "$number" "$text"
    done
    sleep 0.01
  done
}

# judge_lines IDEMPOTENT GOT: the lines that were fed are there, in order, once; without idempotence at least once, in the
# order in which each came first.
judge_lines() {
  local got=$2 want=$SCRATCH/lines twice
  [ -s "$want" ] || { echo "nothing was fed"; return 1; }
  twice=$(($(wc -l < "$got") - $(sort -u "$got" | wc -l)))
  if [ "$1" = true ]; then
    same_file "what was read" "$got" "$want" || return 1
  else
    awk '!seen[$0]++' "$got" > "$got.first"
    same_file "what was read, without repetitions" "$got.first" "$want" || return 1
  fi
  echo "note: $(wc -l < "$want") lines, $twice twice"
}
