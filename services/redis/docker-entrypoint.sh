#!/bin/sh
# What the official image does: flags or a .conf alone start redis-server, and root gives way to the redis user.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
  set -- redis-server "$@"
fi
case "$1" in
  redis-server | redis-sentinel)
    if [ "$(id -u)" = 0 ]; then
      find . \! -user redis -exec chown redis {} +
      exec setpriv --reuid=redis --regid=redis --init-groups -- "$0" "$@"
    fi
    # Dumps and AOF hold job payloads: nobody else reads them.
    umask 0077
    ;;
esac
exec "$@"
