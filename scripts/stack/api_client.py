"""The stack's HTTP API for host tools: JSON in and out, uploads streamed from disk.

Every failure is a sentence with the next command.
"""

import http.client
import json
import secrets
import select
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until

#: Seconds one answer may take.
ANSWER_SECONDS: Final = 10.0
#: Seconds the server may inspect and store an upload.
UPLOAD_SECONDS: Final = 300.0
#: Answers that ask for the same request again, and how many seconds `post` complies.
REPEATED: Final = (429, 503)
REPEAT_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.5
TERMINAL: Final = ("SUCCEEDED", "FAILED", "CANCELLED")
_PIECE: Final = 1 << 18

Json = dict[str, Any]
#: Called with bytes sent and bytes in all.
Progress = Callable[[int, int], None]


class ApiError(StackError):
    """The API refused; `status` is HTTP's."""

    def __init__(self, what: str, *, status: int, fix: str) -> None:
        super().__init__(what, fix=fix)
        self.status = status


class ApiClient:
    """Calls of one key. Paths start below /api/v1."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._authorization = {"Authorization": f"Bearer {key}"}

    @classmethod
    def of(cls, stack: Stack) -> "ApiClient":
        """Speaks to the stack of this host with its first key."""
        return cls(stack.web_url, stack.value("HOLDFAST_API_KEY"))

    def get(self, path: str) -> Json:
        return self._json(Request(self._url + "/api/v1" + path, headers=self._authorization))

    def post(self, path: str, body: Mapping[str, Any]) -> Json:
        """Repeats what the service asks to repeat; the key sees to it that it is accepted once."""
        headers = {**self._authorization, "Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
        deadline = time.monotonic() + REPEAT_SECONDS
        while True:
            try:
                return self._json(Request(self._url + "/api/v1" + path, json.dumps(body).encode(), headers))
            except ApiError as error:
                if error.status not in REPEATED or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def download(self, link: str, target: Path) -> None:
        """Writes what an absolute path of the service (`/api/v1/…`) answers, streamed."""
        with self._open(Request(self._url + link, headers=self._authorization)) as answer, target.open("wb") as sink:
            shutil.copyfileobj(answer, sink, _PIECE)

    def _json(self, request: Request) -> Json:
        with self._open(request) as answer:
            document: Json = json.load(answer)
        return document

    def _open(self, request: Request) -> HTTPResponse:
        try:
            answer: HTTPResponse = urlopen(request, timeout=ANSWER_SECONDS)
            return answer
        except HTTPError as error:
            with error:
                raise refusal(error.code, error.read()) from error
        except (URLError, OSError) as error:
            raise unreachable(self._url, error) from error

    # -- uploads ------------------------------------------------------------------------------------------------------
    def upload(self, path: str, file: Path, *, progress: Progress | None = None) -> Json:
        """Sends a file as the form field `file`, piece by piece. Raises ApiError also when refused half way."""
        boundary = secrets.token_hex(16)
        head = _form_head(boundary, file.name)
        tail = f"\r\n--{boundary}--\r\n".encode()
        size = file.stat().st_size
        parts = urlsplit(self._url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=UPLOAD_SECONDS)
        try:
            self._send_head(connection, "/api/v1" + path, boundary, len(head) + size + len(tail))
            _send_body(connection, _pieces(head, file, tail), size, progress)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self._url, error) from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise refusal(answer.status, body)
        document: Json = json.loads(body)
        return document

    def _send_head(self, connection: http.client.HTTPConnection, path: str, boundary: str, length: int) -> None:
        connection.putrequest("POST", path)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(length)}
        for name, value in {**self._authorization, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()

    # -- jobs ---------------------------------------------------------------------------------------------------------
    def wait_for_job(self, job_id: str, *, within: float, seen: Callable[[str], None] | None = None) -> Json:
        """The job once it is terminal; `seen` gets each new status. Raises StackError when it did not succeed."""
        statuses = [""]

        def finished() -> Json | None:
            job = self._job_or_none(job_id)
            if job and job["status"] != statuses[-1]:
                statuses.append(job["status"])
                if seen:
                    seen(job["status"])
            return job if job and job["status"] in TERMINAL else None

        job = wait_until(
            finished,
            within=within,
            otherwise=f"Job {job_id} did not end; it is accepted and will: look again",
            fix="make ps",
        )
        if job["status"] != "SUCCEEDED":
            raise failed_job(job)
        return job

    def _job_or_none(self, job_id: str) -> Json | None:
        """The job; None while the service is away or overloaded, which a wait outlasts."""
        try:
            return self.get(f"/jobs/{job_id}")
        except ApiError as error:
            if error.status in (0, *REPEATED):
                return None
            raise


def wait_for_follow_up(client: ApiClient, kind: str, farm_id: str, *, within: float) -> Json:
    """The newest job of a kind for a farm, once it succeeded: how a chain of steps is followed to its end."""
    deadline = time.monotonic() + within

    def created() -> Json | None:
        jobs = client.get(f"/jobs?kind={kind}&limit=50")["jobs"]
        return next((job for job in jobs if job["farm_id"] == farm_id), None)

    found = wait_until(created, within=within, otherwise=f"No {kind} followed for farm {farm_id}")
    return client.wait_for_job(found["id"], within=max(1.0, deadline - time.monotonic()))


def refusal(status: int, body: bytes) -> ApiError:
    """A problem document as one sentence."""
    try:
        problem = json.loads(body)
        fields = "; ".join(f"{error['field']}: {error['message']}" for error in problem.get("errors", []))
        said = fields or problem.get("detail") or problem["title"]
    except (ValueError, KeyError, TypeError, AttributeError):
        said = body[:200].decode(errors="replace") or "no reason given"
    return ApiError(f"The API answers {status}: {said}", status=status, fix=_fix(status))


def _fix(status: int) -> str:
    fixes = {
        401: "check HOLDFAST_API_KEY in .env, then: make up",
        413: "raise MAX_SCENE_BYTES in .env, then: make up",
        422: "correct what is named above and run the same command again",
    }
    return fixes.get(status, "make ps" if status >= 500 else "make logs SERVICE=web")


def unreachable(url: str, error: Exception) -> ApiError:
    return ApiError(f"{url} does not answer: {getattr(error, 'reason', error)}", status=0, fix="make up")


def failed_job(job: Mapping[str, Any]) -> StackError:
    error = job.get("error") or {"error_class": "unknown", "message": "no reason recorded"}
    said = f"Job {job['id']} is {job['status']} after {job['attempts']} attempt(s): {error['message']}"
    return StackError(said, fix="correct what is named above; for the worker's side: make logs")


def _form_head(boundary: str, name: str) -> bytes:
    plain = "".join(character for character in name if character.isprintable() and character not in '"\\')
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{plain}"\r\n'
        "Content-Type: image/tiff\r\n\r\n"
    ).encode()


def _pieces(head: bytes, file: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece
    yield tail


def _send_body(
    connection: http.client.HTTPConnection, pieces: Iterator[bytes], size: int, progress: Progress | None
) -> None:
    """Sends until the end, or until the server answers: it need not read what it refuses."""
    sent = 0
    for piece in pieces:
        if _answered(connection):
            return
        try:
            connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            return  # the answer lies in the receive buffer
        sent += len(piece)
        if progress:
            progress(min(sent, size), size)


def _answered(connection: http.client.HTTPConnection) -> bool:
    return bool(select.select([connection.sock], [], [], 0)[0])
