#!/bin/sh
# Refuses a volume of another major version, then hands over to the image's own entrypoint.
set -eu

here=$(postgres --version | sed 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/')
version_file=${PGDATA:-/var/lib/postgresql/data}/PG_VERSION
if [ -f "$version_file" ] && [ "$(cat "$version_file")" != "$here" ]; then
    recorded=$(cat "$version_file")
    echo "the volume holds data of PostgreSQL $recorded, this image is PostgreSQL $here." \
        "Migrate it: \`make up POSTGRES_IMAGE=postgres:$recorded\`," \
        "\`make compose DO='exec -T postgres pg_dumpall --username holdfast' > all.sql\`, \`make down DATA=delete\`," \
        "\`make up\`, \`make compose DO='exec -T postgres psql --username holdfast' < all.sql\`" >&2
    exit 1
fi
exec docker-entrypoint.sh postgres -c config_file=/etc/postgresql/postgresql.conf
