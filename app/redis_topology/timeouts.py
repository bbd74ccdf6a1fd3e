"""How long a client may wait for Redis and Sentinel. All in seconds."""

from typing import Final

#: TCP connect to a Redis node. A dead container's address answers nothing for 3 s; a live one answers in 1 ms.
CONNECT: Final = 0.2

#: One command on Redis. Longer than the longest fork or AOF stall, else a slow write is sent twice.
COMMAND: Final = 0.5

#: TCP connect to, and one command on, a Sentinel. Each dead one costs at most the first, each frozen one the second.
SENTINEL_CONNECT: Final = 0.2
SENTINEL_COMMAND: Final = 0.3

#: Idle time after which a connection is checked by PING before use. A safety net only: below a second it would
#: drop a live BRPOP and the message it had popped.
HEALTH_CHECK_INTERVAL: Final = 5

#: A delivered Celery message is given to another worker after this. Above the longest hard limit of a pool.
VISIBILITY: Final = 900
