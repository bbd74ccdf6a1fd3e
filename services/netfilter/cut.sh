#!/bin/sh
# Waits in a container's network namespace; `cut` then drops what the rules name, until this process ends. It ends by
# itself after LIMIT_SECONDS, so that nothing stays cut when who started it is gone.
#
# cut.sh               waits
# cut.sh <rule> ...    each rule is the match of one DROP, tried on what comes in and what goes out: "-s 10.0.0.1"
set -eu
readonly CHAIN=HOLDFAST_CUT
readonly LIMIT_SECONDS=180

undo() {
    for hook in INPUT OUTPUT; do
        iptables -D "$hook" -j "$CHAIN" 2>/dev/null || :
    done
    iptables -F "$CHAIN" 2>/dev/null || :
    iptables -X "$CHAIN" 2>/dev/null || :
}

if [ $# -eq 0 ]; then
    trap undo EXIT
    trap 'exit 0' TERM INT
    undo
    echo ready
    sleep "$LIMIT_SECONDS" &
    wait $!
    exit 0
fi

iptables -N "$CHAIN"
for rule in "$@"; do
    # shellcheck disable=SC2086 # a rule is several words
    iptables -A "$CHAIN" $rule -j DROP
done
iptables -I INPUT -j "$CHAIN"
iptables -I OUTPUT -j "$CHAIN"
