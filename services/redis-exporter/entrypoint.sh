#!/bin/sh
# The exporter takes one password for all targets from its environment only; it shall not stand in `docker inspect`.
set -eu
IFS= read -r REDIS_PASSWORD </run/secrets/redis_exporter_password || [ -n "$REDIS_PASSWORD" ]
export REDIS_PASSWORD
exec /redis_exporter
