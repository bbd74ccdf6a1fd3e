"""HTTP for the sample archive: routes, JSON answers, byte ranges. Threads of the standard library suffice."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from ndvi.scenes import documents, imagery
from ndvi.scenes.assets import Asset, AssetCache, RangeError, requested_range
from ndvi.scenes.documents import GEOJSON, JSON, Document
from ndvi.scenes.search import COLLECTION, Scene, SearchError, page, parse, scene_named

log = structlog.get_logger(__name__)

#: Bytes of a search that is sent by POST.
MAX_BODY: Final = 1 << 20
#: Seconds an idle connection stays open.
IDLE_SECONDS: Final = 30
#: Seconds between two signs of life.
BEAT_SECONDS: Final = 2.0

#: Path -> its document, given the root URL.
_PAGES: Final[dict[str, Callable[[str], Document]]] = {
    "": documents.landing,
    "conformance": documents.conformance,
    "api": documents.openapi,
    "collections": documents.collections,
    "health": lambda _: {"status": "ok"},
}

type Clock = Callable[[], datetime]


class NotFoundError(Exception):
    """There is no such path."""


class SceneServer(ThreadingHTTPServer):
    """The archive on one address. ``beat`` is called from the accept loop while it turns."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        *,
        clock: Clock = lambda: datetime.now(UTC),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(address, _Handler)
        self.clock = clock
        self.assets = AssetCache(_generate)
        self._beat = beat
        self._next_beat = 0.0

    def service_actions(self) -> None:
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + BEAT_SECONDS
            self._beat()


def _generate(name: str) -> bytes:
    """``<item id>/<band>`` -> the file; the caller has checked that it exists."""
    item_id, _, band = name.partition("/")
    scene = scene_named(item_id, today=datetime.max.date())
    if scene is None:
        raise NotFoundError(name)
    return imagery.cog(scene.tile, scene.day, band)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: SceneServer

    def do_GET(self) -> None:
        self._answer(lambda: self._route(dict(parse_qsl(urlsplit(self.path).query))))

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def do_POST(self) -> None:
        self._answer(self._search_by_post)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401 - the base class's signature
        log.debug("request answered", line=format % args)

    # -- routes -------------------------------------------------------------------------------------------------------
    def _answer(self, route: Callable[[], None]) -> None:
        try:
            route()
        except SearchError as error:
            self._send_error(HTTPStatus.BAD_REQUEST, "BadRequest", str(error))
        except NotFoundError:
            self._send_error(HTTPStatus.NOT_FOUND, "NotFound", f"there is nothing at {urlsplit(self.path).path}")

    def _route(self, asked: dict[str, str]) -> None:
        path = urlsplit(self.path).path.strip("/")
        if path in _PAGES:
            self._send_json(_PAGES[path](self._root))
            return
        match [unquote(part) for part in path.split("/")]:
            case ["collections", name, *rest] if name == COLLECTION:
                self._route_collection(rest, asked)
            case ["search"]:
                self._search_by_get("search", asked)
            case ["assets", item_id, file]:
                self._send_asset(item_id, file)
            case _:
                raise NotFoundError

    def _route_collection(self, rest: list[str], asked: dict[str, str]) -> None:
        match rest:
            case []:
                self._send_json(documents.collection(self._root))
            case ["items"]:
                self._search_by_get(f"collections/{COLLECTION}/items", asked)
            case ["items", item_id]:
                self._send_json(documents.item(self._scene(item_id), self._root), GEOJSON)
            case _:
                raise NotFoundError

    def _search_by_get(self, path: str, asked: dict[str, str]) -> None:
        scenes, token = page(parse(asked, now=self.server.clock()))
        links = [documents.next_by_get(f"{self._root}/{path}", asked, token)] if token else []
        self._send_json(documents.feature_collection(scenes, self._root, links), GEOJSON)

    def _search_by_post(self) -> None:
        asked = self._body()
        if urlsplit(self.path).path.rstrip("/") != "/search":
            raise NotFoundError
        scenes, token = page(parse(asked, now=self.server.clock()))
        links = [documents.next_by_post(f"{self._root}/search", asked, token)] if token else []
        self._send_json(documents.feature_collection(scenes, self._root, links), GEOJSON)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True  # the body stays unread
            raise SearchError(f"body: send at most {MAX_BODY:,} bytes with a Content-Length")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise SearchError("body: send a JSON object") from error
        if not isinstance(asked, dict):
            raise SearchError("body: send a JSON object")
        return asked

    def _scene(self, item_id: str) -> Scene:
        scene = scene_named(item_id, today=documents.today(self.server.clock()))
        if scene is None:
            raise NotFoundError
        return scene

    @property
    def _root(self) -> str:
        host = self.headers.get("Host") or "{}:{}".format(*self.server.server_address[:2])
        return f"http://{host}"

    # -- answers ------------------------------------------------------------------------------------------------------
    def _send_error(self, status: HTTPStatus, code: str, description: str) -> None:
        self._send_json({"code": code, "description": description}, status=status)

    def _send_json(self, document: Document, media_type: str = JSON, status: HTTPStatus = HTTPStatus.OK) -> None:
        content = json.dumps(document).encode()
        self._send(status, content, {"Content-Type": media_type})

    def _send(self, status: HTTPStatus, content: bytes | memoryview, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_asset(self, item_id: str, file: str) -> None:
        band = file.removesuffix(".tif")
        if band == file or band not in imagery.BANDS:
            raise NotFoundError
        asset = self.server.assets.get(f"{self._scene(item_id).id}/{band}")
        headers = {"ETag": asset.etag, "Accept-Ranges": "bytes", "Cache-Control": "public, max-age=86400"}
        if self.headers.get("If-None-Match") in (asset.etag, "*"):
            self._send(HTTPStatus.NOT_MODIFIED, b"", headers)
        else:
            self._send_range(asset, headers | {"Content-Type": documents.COG})

    def _send_range(self, asset: Asset, headers: dict[str, str]) -> None:
        size = len(asset.content)
        is_current = self.headers.get("If-Range", asset.etag) == asset.etag
        try:
            wanted = requested_range(self.headers.get("Range"), size) if is_current else None
        except RangeError:
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{size}"})
            return
        if wanted is None:
            self._send(HTTPStatus.OK, asset.content, headers)
            return
        first, last = wanted
        part = memoryview(asset.content)[first : last + 1]
        self._send(HTTPStatus.PARTIAL_CONTENT, part, headers | {"Content-Range": f"bytes {first}-{last}/{size}"})
