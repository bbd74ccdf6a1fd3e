#!/bin/sh
# Starts one Sentinel: settings from the template at every start, memory (id, epochs, peers, who leads) from its volume.
#
# SENTINEL_ADDRESS       this Sentinel's own address
# SENTINEL_FIRST_PRIMARY address to watch when the volume is empty
# SENTINEL_PRIMARY_NAME  what the primary is called
set -eu
umask 077
# shellcheck source=services/redis/rendering.sh
. /opt/holdfast/rendering.sh

readonly CONFIGURATION=/data/sentinel.conf
readonly TEMPLATE=/usr/local/etc/sentinel/sentinel.conf.template
readonly MEMORY='^sentinel (myid|current-epoch|config-epoch|leader-epoch|known-replica|known-sentinel) '
readonly SUBNET="${SENTINEL_ADDRESS%.*}"

# watched: the primary's address that Sentinel wrote down last, or nothing.
watched() {
    [ -f "$CONFIGURATION" ] || return 0
    sed -n "s/^sentinel monitor $SENTINEL_PRIMARY_NAME \([0-9.]*\) .*/\1/p" "$CONFIGURATION"
}

# remembered <old subnet>: what Sentinel wrote down, moved to today's subnet (nodes keep their last number).
remembered() {
    grep -E "$MEMORY" "$CONFIGURATION" | sed "s/ $(printf '%s' "$1" | sed 's/\./\\./g')\./ $SUBNET./" || :
}

render_configuration() {
    last=$(watched)
    primary=${last:+$SUBNET.${last##*.}}
    sed -e "s/@@NAME@@/$SENTINEL_PRIMARY_NAME/" -e "s/@@ADDRESS@@/$SENTINEL_ADDRESS/" \
        -e "s/@@PRIMARY@@/${primary:-$SENTINEL_FIRST_PRIMARY}/" -e '/^#/d' -e '/^$/d' "$TEMPLATE"
    quoted_password=$(quoted "$password")
    printf 'aclfile /run/holdfast/users.acl\nsentinel auth-pass %s %s\nsentinel sentinel-pass %s\n' \
        "$SENTINEL_PRIMARY_NAME" "$quoted_password" "$quoted_password"
    [ -z "$last" ] || remembered "${last%.*}"
}

render_acl /usr/local/etc/sentinel/users.acl.template /run/holdfast/users.acl
password=$(secret sentinel)
render_configuration >"$CONFIGURATION.new"
mv "$CONFIGURATION.new" "$CONFIGURATION"
say "watches $(watched)"
exec redis-sentinel "$CONFIGURATION"
