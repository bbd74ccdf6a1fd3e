"""What a system still holds of jobs without an effect: a message that nobody took, a row that nobody looks at."""

from typing import Final

import redis
from redis.exceptions import RedisError

from tests.others.world import World

#: Tables of the systems that keep their jobs in Postgres: what is not done.
_ROWS: Final = {
    "procrastinate": "SELECT args::text FROM procrastinate_jobs WHERE status IN ('todo', 'doing', 'failed')",
    "django-tasks-db": "SELECT args_kwargs::text FROM django_tasks_database_dbtaskresult WHERE status <> 'SUCCESSFUL'",
}


def text(name: str, world: World, *, database: str, redis_database: int) -> str:
    """All of it, a message's arguments in clear: a key that stands in it is not gone."""
    if name in _ROWS:
        with world.connect(database) as connection:
            return "\n".join(str(row[0]) for row in connection.execute(_ROWS[name]).fetchall())
    with world.redis.primary.client("operator", db=redis_database) as client:
        return "\n".join(_value(client, key) for key in client.scan_iter(count=1000))


def _value(client: redis.Redis, key: str) -> str:
    try:
        match client.type(key):
            case "list":
                return str(client.lrange(key, 0, -1))
            case "hash":
                return str(client.hvals(key))
            case "stream":
                return str(client.xrange(key))
    except RedisError as error:
        raise RuntimeError(f"{key} could not be read: {error}") from error
    return ""
