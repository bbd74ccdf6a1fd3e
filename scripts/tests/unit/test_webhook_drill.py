"""The webhooks drill: what it takes for a kept promise, and the receiver that it starts."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import io
import json
import socket
import subprocess
import sys
import unittest
import uuid
from dataclasses import replace
from pathlib import Path

from scripts.drills import receiver, webhooks
from scripts.drills.receiver import Request
from scripts.drills.verdict import Verdict

SECRET = "whsec_" + base64.b64encode(b"k" * 48).decode()
JOBS = [str(uuid.UUID(int=number)) for number in (1, 2, 3)]


def request(job: str, *, key: str = "", applied: bool = True) -> Request:
    key, body = key or f"key-of-{job}", json.dumps({"type": "job.succeeded", "data": {"id": job}})
    digest = hmac.digest(b"k" * 48, f"{key}.17.{body}".encode(), hashlib.sha256)
    return Request(key, "17", f"v1,{base64.b64encode(digest).decode()}", "/tag", body, applied)


#: Each job told once, the first of them twice.
KEPT = [*(request(job) for job in JOBS), request(JOBS[0], applied=False)]


class Judgement(unittest.TestCase):
    def broken(self, requests: list[Request]) -> list[str]:
        with contextlib.redirect_stdout(io.StringIO()):
            verdict = Verdict("")
            webhooks.check_requests(verdict, requests, JOBS, secret=SECRET)
        return verdict.broken

    def test_a_kept_promise_breaks_nothing(self) -> None:
        self.assertEqual(self.broken(KEPT), [])

    def test_sees_a_job_that_was_never_told(self) -> None:
        self.assertTrue(any("1 never" in text for text in self.broken([one for one in KEPT if one.job_id != JOBS[1]])))

    def test_sees_a_second_key_of_one_job(self) -> None:
        self.assertTrue(any("2 of 3" in text for text in self.broken([*KEPT, request(JOBS[2], key="another")])))

    def test_sees_one_key_of_two_jobs(self) -> None:
        shared = [request(job, key="same") for job in JOBS]
        self.assertNotEqual(self.broken([*shared, request(JOBS[0], key="same", applied=False)]), [])

    def test_sees_what_nobody_asked_for(self) -> None:
        self.assertTrue(any("1 unasked" in text for text in self.broken([*KEPT, request(str(uuid.uuid4()))])))

    def test_sees_an_effect_applied_twice(self) -> None:
        self.assertTrue(any("effects" in text for text in self.broken([*KEPT, request(JOBS[1])])))

    def test_sees_a_forged_signature(self) -> None:
        forged = replace(KEPT[1], body=KEPT[1].body + " ")
        self.assertTrue(any("3 of 4 signatures" in text for text in self.broken([KEPT[0], forged, *KEPT[2:]])))

    def test_a_run_whose_kills_met_no_call_shows_nothing(self) -> None:
        self.assertTrue(any("0 repeat" in text for text in self.broken(KEPT[:3])))


class TheReceiver(unittest.TestCase):
    def test_applies_each_key_once_and_writes_down_every_request(self) -> None:
        script = Path(receiver.__file__).with_name("webhook_receiver.py")
        argv = [sys.executable, str(script), "0", "0"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                port = int(json.loads(process.stdout.readline())["port"])
                die_while_sending(port, "a")
                for key in ("a", "a", "b"):
                    self.assertEqual(post(port, key), 204)
                lines = [json.loads(process.stdout.readline()) for _ in range(3)]
            finally:
                process.kill()  # leaving the block waits for its end
        self.assertEqual([(one["key"], one["applied"]) for one in lines], [("a", True), ("a", False), ("b", True)])
        self.assertEqual(Request(**lines[2]).path, "/tag")


def die_while_sending(port: int, key: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"POST /tag HTTP/1.1\r\nwebhook-id: {key}\r\nContent-Length: 9\r\n\r\n12".encode())
        connection.shutdown(socket.SHUT_WR)
        if connection.recv(1):
            raise AssertionError("half a request was answered")


def post(port: int, key: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/tag", b"{}", {"webhook-id": key})
        return connection.getresponse().status


if __name__ == "__main__":
    unittest.main()
