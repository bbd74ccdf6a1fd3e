"""What `make drill NAME=quiet-load` takes for a false alarm."""

import unittest
from collections.abc import Iterator, Sequence
from unittest import mock

from scripts.drills import quiet_load
from scripts.drills.quiet_load import Alarms
from scripts.drills.verdict import Verdict
from scripts.stack.redis_nodes import SENTINELS, RedisNodes
from scripts.stack.sentinel_ears import SentinelEars
from scripts.stack.waiting import wait_until

Epochs = dict[str, int]
SAME = ({"sentinel-1": 4}, {"sentinel-1": 4})


class Calm(unittest.TestCase):
    def broken(self, *heard: str, deaf: Sequence[str] = (), epochs: tuple[Epochs, Epochs] = SAME) -> int:
        verdict, told = Verdict("test"), list[str]()
        alarms = Alarms(told.append)
        for event in heard:
            alarms.hear("sentinel-2", event, "master holdfast 10.9.9.11 6379")
        quiet_load.judge_calm(verdict, alarms, deaf=deaf, epochs=epochs)
        self.assertEqual(len(told), sum(event in {*quiet_load.ALARMS, quiet_load.TILT} for event in heard))
        return len(verdict.broken)

    def test_greetings_and_a_machine_that_stood_still_are_no_false_alarm(self) -> None:
        self.assertEqual(self.broken("__sentinel__:hello", "+reset-master", "+tilt", "-sdown"), 0)

    def test_each_alarm_is_one_whatever_node_it_is_about(self) -> None:
        for event in quiet_load.ALARMS:
            self.assertEqual(self.broken(event), 1)

    def test_a_sentinel_that_could_not_be_heard_and_a_failover_that_nobody_heard_break_it(self) -> None:
        self.assertEqual(self.broken(deaf=("sentinel-3",)), 1)
        self.assertEqual(self.broken(epochs=({"sentinel-1": 4}, {"sentinel-1": 5})), 1)


class FakeClient:
    """A Sentinel that says some things and is gone, or waits until it is interrupted."""

    def __init__(self, said: list[tuple[str, str]]) -> None:
        self.said = said

    def listen(self, _pattern: str) -> Iterator[tuple[str, str]]:
        yield from self.said
        raise ConnectionResetError("gone")

    def interrupt(self) -> None:
        """Nothing waits."""


class Ears(unittest.TestCase):
    def test_hands_on_what_each_sentinel_says_and_tells_who_went_silent(self) -> None:
        heard: list[tuple[str, str, str]] = []
        nodes = mock.Mock(spec=RedisNodes)
        nodes.client.side_effect = lambda sentinel: FakeClient([("+sdown", sentinel)])
        ears = SentinelEars(nodes, lambda *said: heard.append(said))
        ears.start()
        wait_until(lambda: len(ears.deaf) == len(SENTINELS), within=60, otherwise="the ears did not notice the end")
        self.assertEqual(sorted(heard), [(one, "+sdown", one) for one in sorted(SENTINELS)])

    def test_who_was_stopped_is_not_deaf(self) -> None:
        nodes = mock.Mock(spec=RedisNodes)
        nodes.client.side_effect = lambda _sentinel: FakeClient([])
        ears = SentinelEars(nodes, mock.Mock())
        ears.stop()
        ears._listen("sentinel-1", FakeClient([]))  # type: ignore[arg-type]
        self.assertEqual(ears.deaf, [])


if __name__ == "__main__":
    unittest.main()
