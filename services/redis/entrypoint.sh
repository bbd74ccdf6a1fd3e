#!/bin/sh
# Starts one Redis node: renders its ACL and configuration, decides whom it follows, and runs redis-server; beside
# Sentinels a primary hands over before it stops.
#
# REDIS_ADDRESS        this node's own address
# REDIS_FIRST_PRIMARY  address that leads when nobody remembers anything
# REDIS_SENTINELS      addresses of the Sentinels, space-separated; empty = standalone, this node leads
# REDIS_PRIMARY_NAME   what the Sentinels call the primary
# shellcheck disable=SC2329 # of_each and trap call functions by name
set -eu
umask 077
# shellcheck source=services/redis/rendering.sh
. /opt/holdfast/rendering.sh

readonly CONFIGURATION=/data/node.conf # Sentinel makes Redis rewrite it: the role that this node had is on its volume
readonly DISCOVERY_SECONDS=5
readonly PRIMARY_SECONDS=5
readonly SWITCH_SECONDS=5 # from "down" to the new primary
readonly STARTING_DOWN_AFTER_MS=300000 # a Sentinel that judges nobody yet
readonly BY_SENTINELS='the Sentinels agree'
readonly DEFAULT_MAXMEMORY=333mb

# ask <Sentinel> <command...>: its answer, or nothing within a second.
ask() {
    sentinel=$1
    shift
    REDISCLI_AUTH=$replication_password timeout 1 redis-cli --user replication -h "$sentinel" -p 26379 \
        SENTINEL "$@" 2>/dev/null || :
}

# of_each <function>: its output for every Sentinel, all asked at once.
of_each() {
    for one in $REDIS_SENTINELS; do
        "$1" "$one" &
    done
    wait
}

opinion() {
    ask "$1" GET-MASTER-ADDR-BY-NAME "$REDIS_PRIMARY_NAME" | grep -E '^[0-9]+(\.[0-9]+){3}$'
}

# value <name>: a field of $state, which is a Sentinel's answer to MASTER.
value() {
    printf '%s\n' "$state" | grep -x -A 1 "$1" | tail -n 1
}

# view <Sentinel>: `up` when it is connected to the primary and calls it down in no way, else `down`; nothing when the
# Sentinel does not answer.
view() {
    state=$(ask "$1" MASTER "$REDIS_PRIMARY_NAME")
    [ -n "$state" ] || return 0
    if [ "$(value flags)" = master ]; then echo up; else echo down; fi
}

# verdict <Sentinel>: `late` when it has missed the primary for so long that it replaces it before a node that starts now
# is up; nothing otherwise.
verdict() {
    state=$(ask "$1" MASTER "$REDIS_PRIMARY_NAME")
    [ -n "$state" ] || return 0
    patience=$(value down-after-milliseconds)
    [ "$patience" -lt "$STARTING_DOWN_AFTER_MS" ] || return 0
    [ $((5 * $(value last-ok-ping-reply))) -lt $((2 * patience)) ] || echo "late $patience"
}

# let_pass: a primary that crashed and is back within a second would take writes for another one, while the Sentinels
# replace it, and lose them all. It waits for the end of that, and leads when they still want it.
let_pass() {
    patience=$(of_each verdict | sort | uniq -c | sed -n 's/^ *[23] late //p')
    [ -n "$patience" ] || return 0
    say "has been missed: waits for the Sentinels to replace it"
    deadline=$(($(date +%s) + SWITCH_SECONDS + (patience + 999) / 1000))
    while time_is_left; do
        followed=$(agreed)
        [ "${followed:-$primary}" = "$primary" ] || break
        sleep 0.1
    done
    primary=${followed:-$primary}
}

# agreed: the address that at least two Sentinels name, or nothing.
agreed() {
    of_each opinion | sort | uniq -d | head -n 1
}

# recorded: the primary by this node's own record, in today's subnet, or nothing.
recorded() {
    [ -f "$CONFIGURATION" ] || return 0
    followed=$(sed -n 's/^\(replicaof\|slaveof\) \([0-9.]*\) .*/\2/p' "$CONFIGURATION" | tail -n 1)
    if [ -n "$followed" ]; then
        printf '%s' "${REDIS_ADDRESS%.*}.${followed##*.}"
    else
        printf '%s' "$REDIS_ADDRESS"
    fi
}

time_is_left() {
    [ "$(date +%s)" -lt "$deadline" ]
}

# find_primary: sets primary and source.
find_primary() {
    while time_is_left; do
        primary=$(agreed) source=$BY_SENTINELS
        [ -z "$primary" ] || return 0
        sleep 0.2
    done
    primary=$(recorded) source='no two Sentinels agreed, its own volume says so'
    [ -z "$primary" ] || return 0
    primary=$REDIS_FIRST_PRIMARY source='first start'
}

# primary_is_up: it answers anything and then, where Sentinels agreed, at least two see it and none that answers misses
# it (a peer believes its "down" for 5 s). In this order: a Sentinel is `connected` for a moment before it is refused.
primary_is_up() {
    timeout 1 redis-cli -h "$primary" PING 2>&1 | grep -qE 'PONG|NOAUTH|LOADING|MASTERDOWN' || return 1
    [ "$source" = "$BY_SENTINELS" ] || return 0
    views=$(of_each view | sort | uniq -c | tr -s ' \n' ' ')
    [ "$views" = ' 2 up ' ] || [ "$views" = ' 3 up ' ]
}

# At a cold start the old leader goes first. A Sentinel that starts before Redis calls everybody down after its first
# second, and a replica that is up in that moment is elected though the primary is up as well: so no replica may be up
# until the Sentinels see the primary. It has a time of its own: on a busy host the look-up may have used up the first.
await_primary() {
    deadline=$(($(date +%s) + PRIMARY_SECONDS))
    while time_is_left; do
        ! primary_is_up || return 0
        sleep 0.2
    done
    say "starts without its primary: $primary is not up after $PRIMARY_SECONDS s"
}

# maxmemory: 65 % of the container's memory limit (cgroup v2 or v1), in bytes.
maxmemory() {
    limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || :)
    case $limit in
        '' | *[!0-9]* | ?????????????*) printf '%s' "$DEFAULT_MAXMEMORY" ;; # none, `max`, or beyond any real limit
        *) printf '%s' $((limit * 65 / 100)) ;;
    esac
}

render_configuration() {
    printf 'include /usr/local/etc/redis/redis.conf\naclfile /run/holdfast/users.acl\nmaxmemory %s\n' "$(maxmemory)"
    [ -n "${REDIS_SENTINELS:-}" ] || return 0
    printf 'include /usr/local/etc/redis/replicated.conf\nreplica-announce-ip %s\n' "$REDIS_ADDRESS"
    printf 'masterauth %s\n' "$(quoted "$replication_password")"
    [ "$primary" = "$REDIS_ADDRESS" ] || printf 'replicaof %s 6379\n' "$primary"
}

render_acl /usr/local/etc/redis/users.acl.template /run/holdfast/users.acl
if [ -n "${REDIS_SENTINELS:-}" ]; then
    replication_password=$(secret replication)
    deadline=$(($(date +%s) + DISCOVERY_SECONDS))
    find_primary
    [ "$primary" != "$REDIS_ADDRESS" ] || [ "$source" != "$BY_SENTINELS" ] || let_pass
    if [ "$primary" = "$REDIS_ADDRESS" ]; then
        say "leads: $source"
    else
        say "follows $primary: $source"
        await_primary
    fi
fi
render_configuration >"$CONFIGURATION.new"
mv "$CONFIGURATION.new" "$CONFIGURATION"
# A lone Redis: nothing stands between init and it.
[ -n "${REDIS_SENTINELS:-}" ] || exec redis-server "$CONFIGURATION"

# TERM reaches this shell, and Redis only when another node leads or none can. The wait is cut short by the signal.
leave() {
    trap : TERM # not '': what is ignored here would be ignored by every command of the hand-over
    sh /opt/holdfast/hand-over.sh || :
    kill -TERM "$server"
}
redis-server "$CONFIGURATION" &
server=$!
trap leave TERM
status=0
wait "$server" || status=$?
while kill -0 "$server" 2>/dev/null; do
    status=0
    wait "$server" || status=$?
done
exit "$status"
