#!/bin/sh
# What a primary does before it stops: another node leads, and no acknowledged write is lost. The same steps as
# scripts/stack/handover.py, which says why they are sound: writes pause, a replica has all of them, Redis's own FAILOVER
# swaps the roles, and the Sentinels hear of it as of a switch that one of them made.
#
# Called by entrypoint.sh. Ends within some seconds whatever happens; status 1 = this node still leads, and stops as one
# that fails. Sentinels stop before the nodes in a stack that goes down: where fewer than two watch, nobody takes over.
set -eu
umask 077
# shellcheck source=services/redis/rendering.sh
. /opt/holdfast/rendering.sh

readonly HELLO=__sentinel__:hello
readonly GREETINGS=/run/holdfast/greetings
readonly GREETING_MS=3000 # a Sentinel greets every 2 s
readonly PAUSE_MS=3000
readonly CATCH_UP_MS=1000
readonly SWAP_MS=1500
readonly FOLLOW_MS=1500

# on <address> <port> <command...>: the node's answer to the operator, whose password is on every Redis node anyway.
on() {
    address=$1 port=$2
    shift 2
    REDISCLI_AUTH=$password timeout 1 redis-cli --user operator -h "$address" -p "$port" "$@" | tr -d '\r'
}

# here: commands from standard input, one a line, over one connection.
here() {
    on 127.0.0.1 6379
}

now() {
    date +%s%3N
}

# await <milliseconds> <condition...>
await() {
    ends_at=$(($(now) + $1))
    shift
    until "$@"; do
        [ "$(now)" -lt "$ends_at" ] || return 1
        sleep 0.01
    done
}

watching() {
    echo 'CLIENT LIST TYPE PUBSUB' | here | grep -c ' user=sentinel ' || :
}

# greeted: one line of each Sentinel: address,port,run id,epoch,name,primary,port,its epoch
greeted() {
    grep -E '^[0-9.]+,[0-9]+,[0-9a-f]{40},' "$GREETINGS" | sort -t, -k3,3 -u
}

all_greeted() {
    [ "$(greeted | wc -l)" -ge "$sentinels" ]
}

listen() {
    sentinels=$(watching)
    [ "$sentinels" -ge 2 ] || fail "$sentinels Sentinels watch: nobody takes over"
    : >"$GREETINGS"
    REDISCLI_AUTH=$password redis-cli --user operator SUBSCRIBE "$HELLO" >"$GREETINGS" &
    listener=$!
    await "$GREETING_MS" all_greeted || :
    kill "$listener" || :
    [ "$(greeted | wc -l)" -ge 2 ] || fail 'fewer than two Sentinels greet: nobody takes over'
    [ "$(greeted | cut -d, -f6 | sort -u)" = "$REDIS_ADDRESS" ] || fail 'the Sentinels name another primary'
    epoch=$(($(greeted | cut -d, -f4,8 | tr , '\n' | sort -n | tail -n 1) + 1))
}

# replicas: offset and address of each that is in step, the furthest first.
replicas() {
    echo INFO replication | here |
        sed -nE 's/^slave[0-9]+:ip=([0-9.]+),port=6379,state=online,offset=([0-9]+),lag=[01](,.*)?$/\2 \1/p' | sort -rn
}

# has_all <address>: nothing that was acknowledged is missing there.
has_all() {
    reached=$(on "$1" 6379 INFO replication | sed -n 's/^slave_repl_offset://p')
    [ "${reached:-0}" -ge "$offset" ]
}

follows() {
    facts=$(echo INFO replication | here)
    printf '%s' "$facts" | grep -q '^role:slave' && printf '%s' "$facts" | grep -q '^master_failover_state:no-failover'
}

swap() {
    pause_ends_at=$(($(now) + PAUSE_MS))
    offset=$(printf 'CLIENT PAUSE %s WRITE\nINFO replication\n' "$PAUSE_MS" | here | sed -n 's/^master_repl_offset://p')
    await "$CATCH_UP_MS" has_all "$successor" || return 1
    [ $((pause_ends_at - $(now))) -ge 1000 ] || return 1
    echo "FAILOVER TO $successor 6379 FORCE TIMEOUT 1" | here >/dev/null
    await "$SWAP_MS" follows || { echo FAILOVER ABORT | here >/dev/null; return 1; }
}

# announce: every Sentinel hears it from another one that it knows.
announce() {
    for other in $others; do on "$other" 6379 REPLICAOF "$successor" 6379 >/dev/null & done
    greeted | {
        while IFS=, read -r address port run_id _; do
            speaker=$(greeted | grep -v ",$run_id," | head -n 1 | cut -d, -f1-3)
            on "$address" "$port" PUBLISH "$HELLO" "$speaker,$epoch,$REDIS_PRIMARY_NAME,$successor,6379,$epoch" >/dev/null &
        done
        wait
    }
    wait
}

# has_replicas: so many that it takes writes without this node.
has_replicas() {
    [ "$(on "$successor" 6379 INFO replication | grep -c '^slave[0-9]*:.*,state=online,')" -ge "$1" ]
}

password=$(secret operator)
[ "$(echo ROLE | here | head -n 1)" = master ] || exit 0
listen
in_step=$(replicas | cut -d ' ' -f 2)
successor=$(printf '%s\n' "$in_step" | head -n 1)
others=$(printf '%s\n' "$in_step" | tail -n +2)
[ -n "$successor" ] || fail 'no replica is in step: nobody takes over'
say "hands over to $successor"
if swap; then announce; fi
echo CLIENT UNPAUSE | here >/dev/null
follows || fail "$successor did not take over"
await "$FOLLOW_MS" has_replicas "$(printf '%s\n' "$in_step" | wc -l)" || :
say "$successor leads"
