#!/usr/bin/env bash
# Three nodes, each in a network namespace of its own, and clients in a fourth, joined by a bridge in a fifth: packets between
# nodes vanish while idempotent producers write. Everything that the clients saw is judged, and everything goes on, with the
# links cut and when they are whole again. See lib.sh for what is given; run by run.sh, whose own node is not used.
#
#      node 1 ──┐   ┌── node 2
#             bridge               a cut is one way: what a node sends to another one leaves for an address that nobody has
#      node 3 ──┘   └── clients
suite=links
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=cluster.sh
. "$here/cluster.sh"

spaces=seedlog-$$
# Never given to an interface: the bridge carries such a frame to everybody, and nobody takes it.
nobody=02:00:00:00:00:fe
client=4

space() { echo "$spaces-$1"; }
address() { echo "10.73.0.$1"; }

build_network() {
  local at
  for at in hub 1 2 3 $client; do ip netns add "$(space "$at")" || return 1; done
  ip -n "$(space hub)" link add bridge type bridge || return 1
  ip -n "$(space hub)" link set bridge up || return 1
  for at in 1 2 3 $client; do
    ip -n "$(space hub)" link add "port-$at" type veth peer name eth0 netns "$(space "$at")" || return 1
    ip -n "$(space hub)" link set "port-$at" master bridge up || return 1
    ip -n "$(space "$at")" addr add "$(address "$at")/24" dev eth0 || return 1
    ip -n "$(space "$at")" link set eth0 up || return 1
    ip -n "$(space "$at")" link set lo up || return 1
  done
}

# Nodes have ended by then, or are ended by run.sh: a namespace lives as long as somebody is in it.
clean_up() {
  local at
  trap - EXIT INT TERM
  for at in 1 2 3; do
    [ ! -f "$SCRATCH/node-$at/pid" ] || "$node_sh" stop "$SCRATCH/node-$at" || true
  done
  for at in hub 1 2 3 $client; do ip netns del "$(space "$at")" 2> /dev/null || true; done
}

# cut FROM TO: what node FROM sends to node TO vanishes. What TO sends still arrives.
cut_link() { ip -n "$(space "$1")" neigh replace "$(address "$2")" lladdr $nobody dev eth0 nud permanent; }
mend_link() { ip -n "$(space "$1")" neigh del "$(address "$2")" dev eth0 2> /dev/null || true; }

mend_all() {
  local from to
  for from in 1 2 3; do
    for to in 1 2 3; do mend_link $from $to; done
  done
}

after_case() { mend_all; }

# The other two.
others() { echo $(($1 % 3 + 1)) $((($1 + 1) % 3 + 1)); }

cut_off() {
  local other
  for other in $(others "$1"); do cut_link "$1" "$other"; cut_link "$other" "$1"; done
}

mute() {
  local other
  for other in $(others "$1"); do cut_link "$1" "$other"; done
}

deafen() {
  local other
  for other in $(others "$1"); do cut_link "$other" "$1"; done
}

cut_from_one() {
  local other
  read -r other _ <<< "$(others "$1")"
  cut_link "$1" "$other"
  cut_link "$other" "$1"
}

# with_links FAULT TOPIC: writes and reads before, during and after the fault, which gets the number of the node that leads.
with_links() {
  local fault=$1 topic=$2 before other after
  begin_history "$topic"
  await_acks "$topic" 200
  before=$(leader "$topic")
  "$fault" "$before"
  # Past what librdkafka had been answered already, and past every session.
  sleep 5
  await_acks "$topic" 200
  # One that both others can reach in every case; the old leader may not know.
  read -r _ other <<< "$(others "$before")"
  after=$(leader "$topic" "$other")
  mend_all
  await_acks "$topic" 200
  await_whole "$topic"
  end_history "$topic" "; led by node $before, then by node $after"
}

if ! command -v kcat > /dev/null || [ ! -x "$python" ]; then
  missing "clients" "kcat or librdkafka's bindings are not installed"
  exit 0
fi
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if ! why=$(build_network 2>&1); then
  # No failure where everything has to run: who runs this may lack the right, and that is no news of Seedlog.
  skip "links are cut" "this machine gives no network namespaces with a bridge: $(tail -n 1 <<< "$why")"
  exit 0
fi
for id in 1 2 3; do
  host_of[id]=$(address $id)
  netns_of[id]=$(space $id)
done
inside=(ip netns exec "$(space $client)")
configure
start_all
check "the leader is cut off from both followers" with_links cut_off cut-off
check "the leader is heard by nobody, and hears both followers" with_links mute mute
check "the leader hears nobody, and is heard by both followers" with_links deafen deaf
check "the leader and one follower are cut, and both see the third node" with_links cut_from_one partial
check "the nodes stop in order, and their logs have no error" logs_are_clean
