"""The API client against a server that behaves well, badly, or not at all."""

import json
import socket
import tempfile
import threading
import unittest
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scripts.stack.api_client import ApiClient, ApiError, wait_for_follow_up
from scripts.stack.errors import StackError

Answer = tuple[int, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self._send(self.server.answers[self.path.partition("?")[0]])

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        if self.server.refuse_unread:
            self._send((413, {"title": "Too large", "detail": "over 1,000 bytes", "errors": []}))
            self.close_connection = True
            return
        self.server.bodies.append((dict(self.headers), self.rfile.read(length)))
        self._send(self.server.answers[self.path])

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _send(self, answer: Answer | Callable[[], Answer]) -> None:
        status, document = answer() if callable(answer) else answer
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Any] = {}
        self.bodies: list[tuple[dict[str, str], bytes]] = []
        self.refuse_unread = False


class Client(unittest.TestCase):
    def setUp(self) -> None:
        self.server = _Server()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.client = ApiClient(f"http://127.0.0.1:{self.server.server_address[1]}", "hf_key")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, size: int) -> Path:
        path = self.folder / 'a "quoted" scene.tif'
        with path.open("wb") as sink:
            sink.truncate(size)
        return path

    def test_upload_is_one_form_field_with_the_files_bytes(self) -> None:
        self.server.answers["/api/v1/scenes"] = (201, {"id": "s"})
        path = self.file(0)
        path.write_bytes(bytes(range(256)) * 3000)
        shares: list[int] = []
        self.client.upload("/scenes", path, progress=lambda sent, size: shares.append(100 * sent // size))
        headers, body = self.server.bodies[0]
        message = BytesParser().parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
        part = message.get_payload(0)
        assert isinstance(part, Message)
        self.assertEqual(part.get_param("name", header="Content-Disposition"), "file")
        self.assertEqual(part.get_filename(), "a quoted scene.tif")
        self.assertEqual(part.get_payload(decode=True), path.read_bytes())
        self.assertEqual(headers["Authorization"], "Bearer hf_key")
        self.assertEqual((shares[-1], shares), (100, sorted(shares)))

    def test_an_upload_that_is_refused_unread_says_why(self) -> None:
        self.server.refuse_unread = True
        with self.assertRaisesRegex(ApiError, "413: over 1,000 bytes\n  next: raise MAX_SCENE_BYTES"):
            self.client.upload("/scenes", self.file(2 * 10**9))

    def test_a_problem_names_its_fields(self) -> None:
        error = {"field": "file", "message": "not a TIFF"}
        self.server.answers["/api/v1/x"] = (422, {"title": "t", "detail": "d", "errors": [error]})
        with self.assertRaisesRegex(ApiError, "422: file: not a TIFF"):
            self.client.get("/x")

    def test_an_answer_that_is_no_problem_document_is_shown(self) -> None:
        self.server.answers["/api/v1/x"] = (502, b"<html>")
        with self.assertRaisesRegex(ApiError, "502: <html>\n  next: make ps"):
            self.client.get("/x")

    def test_a_stack_that_is_down_says_make_up(self) -> None:
        with socket.socket() as nobody:  # its port is taken, and it does not listen
            nobody.bind(("127.0.0.1", 0))
            client = ApiClient(f"http://127.0.0.1:{nobody.getsockname()[1]}", "k")
            with self.assertRaisesRegex(ApiError, "does not answer.*\n  next: make up"):
                client.get("/jobs")
            with self.assertRaisesRegex(ApiError, "does not answer.*\n  next: make up"):
                client.upload("/scenes", self.file(10))

    def test_a_submit_is_repeated_under_one_key_while_the_service_asks_for_it(self) -> None:
        answers = iter([(503, {"title": "t"}), (429, {"title": "t"}), (202, {"id": "1"})])
        self.server.answers["/api/v1/jobs"] = lambda: next(answers)
        self.assertEqual(self.client.post("/jobs", {"kind": "probe.io"}), {"id": "1"})
        self.assertEqual(len({headers["Idempotency-Key"] for headers, _ in self.server.bodies}), 1)
        self.assertEqual(len(self.server.bodies), 3)

    def test_waits_through_statuses_and_an_away_service(self) -> None:
        answers = iter([(200, job("QUEUED")), (503, {"title": "t"}), (200, job("RUNNING")), (200, job("SUCCEEDED"))])
        self.server.answers["/api/v1/jobs/1"] = lambda: next(answers)
        seen: list[str] = []
        self.assertEqual(self.client.wait_for_job("1", within=60, seen=seen.append)["status"], "SUCCEEDED")
        self.assertEqual(seen, ["QUEUED", "RUNNING", "SUCCEEDED"])

    def test_a_failed_job_says_its_reason(self) -> None:
        failed = {**job("FAILED"), "error": {"error_class": "Permanent", "message": "params.nir: no band 9"}}
        self.server.answers["/api/v1/jobs/1"] = (200, failed)
        with self.assertRaisesRegex(StackError, "FAILED after 1 attempt.*no band 9"):
            self.client.wait_for_job("1", within=60)

    def test_a_job_that_does_not_end_is_given_up_in_time(self) -> None:
        self.server.answers["/api/v1/jobs/1"] = (200, job("RUNNING"))
        with self.assertRaisesRegex(StackError, "did not end"):
            self.client.wait_for_job("1", within=0.3)

    def test_a_follow_up_is_found_by_its_farm(self) -> None:
        listed = [{"id": "0", "farm_id": "other"}, {"id": "1", "farm_id": "f"}]
        self.server.answers["/api/v1/jobs"] = (200, {"jobs": listed})
        self.server.answers["/api/v1/jobs/1"] = (200, job("SUCCEEDED"))
        self.assertEqual(wait_for_follow_up(self.client, "ndvi.summary", "f", within=60)["id"], "1")

    def test_downloads_are_written_as_they_are(self) -> None:
        self.server.answers["/api/v1/jobs/1/files/a.tif"] = (200, b"II*\0" * 1000)
        self.client.download("/api/v1/jobs/1/files/a.tif", self.folder / "a.tif")
        self.assertEqual((self.folder / "a.tif").read_bytes(), b"II*\0" * 1000)


def job(status: str) -> dict[str, Any]:
    return {"id": "1", "status": status, "attempts": 1, "error": None}


if __name__ == "__main__":
    unittest.main()
