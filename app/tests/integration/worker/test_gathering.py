"""Single messages that wait in a list, taken over a real Redis."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from dispatch import Hint, Priority, messages
from project.celery import app
from tests.servers.redis_server import RedisProcess
from worker.gathering import gathered


@pytest.fixture
def waiting(redis_server: RedisProcess) -> Iterator[str]:
    """The list in which 32 single messages wait that may be gathered."""
    hints = [Hint(uuid4(), 1, "probe.fast", "fast", Priority.NORMAL, "", "", 0, batchable=True) for _ in range(32)]
    found = messages.rendered([[hint] for hint in hints])
    [name] = {name for name, _ in found}
    with redis_server.client() as client:
        client.lpush(name, *[message for _, message in found])
        yield name
        client.delete(name)


def test_at_maxmemory_nothing_is_taken_because_nothing_could_be_recorded(
    waiting: str, redis_server: RedisProcess
) -> None:
    with app.connection_for_read() as connection, redis_server.client() as client, redis_server.operator() as operator:
        popped = json.loads(str(client.rpop(waiting)))
        usual = operator.config_get("maxmemory")["maxmemory"]
        try:
            operator.config_set("maxmemory", "1kb")  # less than it uses
            assert gathered(connection.default_channel, popped, "fast") == popped
        finally:
            operator.config_set("maxmemory", usual)
        assert client.llen(waiting) == 31
        assert len(messages.named_by(json.dumps(gathered(connection.default_channel, popped, "fast")))) == 5
        assert client.llen(waiting) == 27
