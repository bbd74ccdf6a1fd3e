#!/bin/sh
# First start only: the role of postgres-exporter, which sees statistics and no rows.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set password `cat /run/secrets/postgres_exporter_password`
CREATE ROLE exporter LOGIN PASSWORD :'password' CONNECTION LIMIT 5 IN ROLE pg_monitor;
SQL
