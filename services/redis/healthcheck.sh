#!/bin/sh
# Healthy = answers PING to user `health`. $1: port (6379 Redis, 26379 Sentinel). The password goes by environment of
# this one process: not in argv, not in `docker inspect`.
set -eu
IFS= read -r REDISCLI_AUTH </run/secrets/redis_health_password || [ -n "$REDISCLI_AUTH" ]
export REDISCLI_AUTH
[ "$(redis-cli --user health -h 127.0.0.1 -p "$1" PING)" = PONG ]
