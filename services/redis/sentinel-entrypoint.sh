#!/bin/sh
# Starts one Sentinel: settings from the template at every start, memory (id, epochs, peers, who leads) from its volume.
#
# SENTINEL_ADDRESS       this Sentinel's own address
# SENTINEL_FIRST_PRIMARY address to watch when the volume is empty
# SENTINEL_PRIMARY_NAME  what the primary is called
# SENTINEL_DOWN_AFTER_MS milliseconds without an answer after which it calls the primary down
set -eu
umask 077
# shellcheck source=services/redis/rendering.sh
. /opt/holdfast/rendering.sh

readonly CONFIGURATION=/data/sentinel.conf
readonly TEMPLATE=/usr/local/etc/sentinel/sentinel.conf.template
readonly MEMORY='^sentinel (myid|current-epoch|config-epoch|leader-epoch|known-replica|known-sentinel) '
readonly SUBNET="${SENTINEL_ADDRESS%.*}"
readonly FIRST_SIGHT_SECONDS=15
readonly LEAST_PING_PERIOD_MS=250 # a replica is eligible while its INFO is younger than five of them
readonly INFO_PERIOD_MS=1000 # so it always is: by the usual ten seconds one answer after the verdict had to make it so
readonly USUAL_PING_PERIOD_MS=1000

# watched: the primary's address that Sentinel wrote down last, or nothing.
watched() {
    [ -f "$CONFIGURATION" ] || return 0
    sed -n "s/^sentinel monitor $SENTINEL_PRIMARY_NAME \([0-9.]*\) .*/\1/p" "$CONFIGURATION"
}

# remembered <old subnet>: what Sentinel wrote down, moved to today's subnet (nodes keep their last number).
remembered() {
    grep -E "$MEMORY" "$CONFIGURATION" | sed "s/ $(printf '%s' "$1" | sed 's/\./\\./g')\./ $SUBNET./" || :
}

# identity: one that does not depend on the volume. A Sentinel that came back under a new one would count twice with its
# peers, and the majority that elects a primary would grow with each volume lost.
identity() {
    printf 'sentinel %s' "${SENTINEL_ADDRESS##*.}" | sha1sum | cut -d ' ' -f 1
}

render_configuration() {
    last=$(watched)
    primary=${last:+$SUBNET.${last##*.}}
    sed -e "s/@@NAME@@/$SENTINEL_PRIMARY_NAME/" -e "s/@@ADDRESS@@/$SENTINEL_ADDRESS/" \
        -e "s/@@PRIMARY@@/${primary:-$SENTINEL_FIRST_PRIMARY}/" -e '/^#/d' -e '/^$/d' "$TEMPLATE"
    quoted_password=$(quoted "$password")
    printf 'aclfile /run/holdfast/users.acl\nsentinel auth-pass %s %s\nsentinel sentinel-pass %s\n' \
        "$SENTINEL_PRIMARY_NAME" "$quoted_password" "$quoted_password"
    if [ -n "$last" ]; then remembered "${last%.*}"; else printf 'sentinel myid %s\n' "$(identity)"; fi
}

has_seen_primary() {
    operate MASTER "$SENTINEL_PRIMARY_NAME" | grep -x -A 1 runid | grep -qE '^[0-9a-f]{40}$'
}

# operate <command...>: this Sentinel's answer as the operator, or nothing within a second.
operate() {
    REDISCLI_AUTH=$operator_password timeout 1 redis-cli --user operator -p 26379 SENTINEL "$@" 2>/dev/null || :
}

# ping_period: milliseconds between two pings, and between two attempts to connect. Sentinel begins to count against a
# primary as it is promoted, but connects to it only when a period has passed since its last attempt to reach the dead
# one. A period as long as the patience made it call the new primary down: a second failover, and writes lost.
ping_period() {
    period=$((SENTINEL_DOWN_AFTER_MS / 2))
    [ "$period" -le "$USUAL_PING_PERIOD_MS" ] || period=$USUAL_PING_PERIOD_MS
    [ "$period" -ge "$LEAST_PING_PERIOD_MS" ] || period=$LEAST_PING_PERIOD_MS
    printf '%s' "$period"
}

# Sentinel calls down whom it could not reach in its first second, though nobody was there yet, and a peer that saw the
# primary believes it: a cold start would elect another. So the template gives it minutes, and the real
# figure comes with the first sight of the primary, or at the end of the wait for a primary that stays away.
judge_quickly() {
    deadline=$(($(date +%s) + FIRST_SIGHT_SECONDS))
    until has_seen_primary || [ "$(date +%s)" -ge "$deadline" ]; do sleep 0.2; done
    until operate DEBUG ping-period "$(ping_period)" info-period "$INFO_PERIOD_MS" | grep -qx OK; do sleep 0.2; done
    until operate SET "$SENTINEL_PRIMARY_NAME" down-after-milliseconds "$SENTINEL_DOWN_AFTER_MS" | grep -qx OK; do sleep 0.2; done
    say "calls the primary down after $SENTINEL_DOWN_AFTER_MS ms from now on"
}

render_acl /usr/local/etc/sentinel/users.acl.template /run/holdfast/users.acl
password=$(secret sentinel)
operator_password=$(secret operator)
render_configuration >"$CONFIGURATION.new"
mv "$CONFIGURATION.new" "$CONFIGURATION"
say "watches $(watched)"
(judge_quickly &) # a child of init, which reaps it; Sentinel would not
exec redis-sentinel "$CONFIGURATION"
