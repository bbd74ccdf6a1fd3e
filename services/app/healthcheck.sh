#!/bin/bash
# Health of an application container; bash builtins and `stat` only, for it runs every few seconds in each of them.
#   healthcheck http <port> <path>        healthy = answers 200
#   healthcheck heartbeat <file> <age>    healthy = the loop touched its file at most <age> seconds ago
set -euo pipefail

answers() {
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
    IFS= read -r status <&3
    [[ $status == HTTP/1.?\ 200* ]]
}

beats() {
    local now
    printf -v now '%(%s)T' -1
    ((now - $(stat -c %Y "$1") <= $2))
}

case $1 in
    http) answers "$2" "$3" ;;
    heartbeat) beats "$2" "$3" ;;
    *) exit 2 ;;
esac
