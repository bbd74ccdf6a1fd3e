"""What a starting Redis node makes of a Sentinel's word: its shell functions, beside a Sentinel that is played."""

import re
import subprocess
import unittest
from pathlib import Path

ENTRYPOINT = Path(__file__).resolve().parents[3] / "services" / "redis" / "entrypoint.sh"


def function(name: str) -> str:
    """Its source."""
    found = re.search(rf"^{name}\(\) \{{$.*?^\}}$", ENTRYPOINT.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{ENTRYPOINT} has no function {name}"
    return found[0]


def view(*answer: str) -> str:
    """What `view` says of a Sentinel whose answer to MASTER has these lines."""
    said = "\\n".join(answer)
    script = (
        f"REDIS_PRIMARY_NAME=holdfast\nask() {{ printf '{said}'; }}\n{function('value')}\n{function('view')}\nview s"
    )
    return subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout.strip()


class View(unittest.TestCase):
    def answer(self, flags: str) -> str:
        return view("name", "holdfast", "flags", flags, "role-reported", "master", "quorum", "2")

    def test_up_is_connected_and_called_down_in_no_way(self) -> None:
        self.assertEqual(self.answer("master"), "up")
        for flags in ("s_down,master", "s_down,o_down,master", "master,disconnected", "o_down,master,disconnected"):
            self.assertEqual(self.answer(flags), "down", flags)

    def test_a_sentinel_that_does_not_answer_has_none(self) -> None:
        self.assertEqual(view(), "")


if __name__ == "__main__":
    unittest.main()
