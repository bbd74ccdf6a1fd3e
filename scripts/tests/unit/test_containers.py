"""Which processes of a container a drill may kill."""

import unittest

from scripts.stack.containers import Process, parse_processes

#: tini, Celery's parent with a child and a zombie, a child whose name imitates the format, and a visiting shell.
STATS = """\
1 (docker-init) S 0 1 1 0
7 (celery) S 1 7 7 0
41 (celery) R 7 7 7 0
42 (celery) Z 7 7 7 0
43 (a) R 9 (b) S 7 7 7 0
90 (sh) S 0 90 90 0
91 (cat) R 90 90 90 0
"""


class Processes(unittest.TestCase):
    def test_keeps_the_living_of_the_container_itself_main_process_first(self) -> None:
        self.assertEqual(parse_processes(STATS), [Process(7, 1), Process(41, 7), Process(43, 7)])

    def test_a_container_that_does_not_run_has_none(self) -> None:
        self.assertEqual(parse_processes(""), [])


if __name__ == "__main__":
    unittest.main()
