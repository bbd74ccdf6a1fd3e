#!/usr/bin/env bash
# First start: initdb, the named user and database, then /docker-entrypoint-initdb.d. Later starts: exec the server.
# Reads the official image's variables: POSTGRES_{USER,PASSWORD,DB,INITDB_ARGS}(_FILE), POSTGRES_HOST_AUTH_METHOD, PGDATA.
set -Eeuo pipefail

# read_setting NAME DEFAULT: exports NAME from itself or from the file that NAME_FILE names.
read_setting() {
  local name="$1" default="$2" file_name="${1}_FILE"
  if [[ -n "${!name:-}" && -n "${!file_name:-}" ]]; then
    echo "error: both $name and $file_name are set; unset one of them" >&2
    exit 1
  fi
  local value="${!name:-$default}"
  if [[ -n "${!file_name:-}" ]]; then
    value="$(<"${!file_name}")"
  fi
  export "$name=$value"
  unset "$file_name"
}

initialise_cluster() {
  if [[ -z "$POSTGRES_PASSWORD" && "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]]; then
    echo "error: the data directory is empty and POSTGRES_PASSWORD is not set; set it or POSTGRES_PASSWORD_FILE" >&2
    exit 1
  fi
  # Word splitting is the documented meaning of POSTGRES_INITDB_ARGS.
  # shellcheck disable=SC2086
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
  local method="${POSTGRES_HOST_AUTH_METHOD:-}"
  printf '\nhost all all all %s\n' "${method:-scram-sha-256}" >> "$PGDATA/pg_hba.conf"
}

run_sql() {
  PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "$@"
}

run_init_files() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh)
        # A script that is not executable is sourced, as the official image does.
        # shellcheck disable=SC1090
        if [[ -x "$file" ]]; then "$file"; else . "$file"; fi
        ;;
      *.sql) run_sql --dbname "$POSTGRES_DB" --file "$file" ;;
      *.sql.gz) gunzip -c "$file" | run_sql --dbname "$POSTGRES_DB" ;;
    esac
  done
}

first_start() {
  initialise_cluster
  # The socket only: nobody reaches the server before it is whole.
  PGPASSWORD="$POSTGRES_PASSWORD" pg_ctl -D "$PGDATA" -w start -o "-c listen_addresses='' -c fsync=off"
  export PGPASSWORD="$POSTGRES_PASSWORD"
  if [[ "$POSTGRES_DB" != postgres ]]; then
    run_sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
  fi
  run_init_files
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGPASSWORD
  sync -f "$PGDATA"
}

if [[ "${1:0:1}" == '-' ]]; then
  set -- postgres "$@"
fi
if [[ "$1" == postgres ]]; then
  install -d -m 0700 "$PGDATA" 2>/dev/null || true
  if [[ "$(id -u)" == 0 ]]; then
    chown -R postgres:postgres "$PGDATA" /var/run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
  fi
  read_setting POSTGRES_PASSWORD ''
  read_setting POSTGRES_USER postgres
  read_setting POSTGRES_DB "$POSTGRES_USER"
  read_setting POSTGRES_INITDB_ARGS ''
  if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
    first_start
  fi
  # The running server has no use for it, and its environment can be read from the host.
  unset POSTGRES_PASSWORD
fi
exec "$@"
