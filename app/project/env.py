"""The process environment as one typed object.

Owns names, types, units and defaults of every setting that the application reads, and the one report that names
every missing or malformed variable at once. Knows nothing of Django.
"""

import base64
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

import redis_topology

#: Values that `.env.example` carries in the place of a secret. `make up` replaces them; nothing may run on them.
PLACEHOLDER: Final = "change-me"

_FILE_SUFFIX: Final = "_FILE"
_WEBHOOK_PREFIX: Final = "whsec_"
_POSTGRES_PARTS: Final = ("POSTGRES_HOST", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB")


class EnvironmentInvalid(Exception):
    """The environment is incomplete or malformed; the message names every variable and its fix."""


class Deployment(StrEnum):
    PRODUCTION = "production"
    TEST = "test"  #: placeholders are accepted, nothing else changes


class QueueBackend(StrEnum):
    CELERY = "celery"  #: web publishes Celery messages itself
    STREAM = "stream"  #: web adds stream entries; the bridge publishes Celery messages


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class Environment(BaseSettings):
    """Every setting of the application. Field name in upper case = variable; descriptions give unit and consumer."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=False, hide_input_in_errors=True)

    # -- deployment ---------------------------------------------------------------------------------------------------
    holdfast_environment: Deployment = Field(Deployment.PRODUCTION, description="production or test; all")
    django_secret_key: SecretStr = Field(min_length=32, description="at least 32 characters; all")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("localhost", "127.0.0.1", "web"), description="host names, comma-separated; web"
    )
    csrf_trusted_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins with scheme, comma-separated; web"
    )
    domain_apps: Annotated[tuple[str, ...], NoDecode] = Field(
        ("ndvi",), description="Django apps that hold your job kinds, comma-separated; all"
    )
    holdfast_api_key: SecretStr | None = Field(None, description="first API key, hf_<id>_<secret>; migrate")
    holdfast_faults: bool = Field(False, description="1 lets probe kinds crash on request, tests only; workers")
    holdfast_history: bool = Field(
        False, description="1 writes down what each process does, for make history; web, workers, bridge, sweeper"
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="all")
    log_format: LogFormat = Field(LogFormat.JSON, description="json or console; all")

    # -- Postgres -----------------------------------------------------------------------------------------------------
    database_url: SecretStr = Field(
        description="postgresql://user:password@host:port/name; composed from POSTGRES_* when absent; all"
    )
    database_pool_size: int = Field(24, ge=1, le=200, description="connections per process; all")
    database_request_seconds: float = Field(2.0, gt=0, le=30, description="seconds one request may wait; web")
    database_loop_seconds: float = Field(5.0, gt=0, le=60, description="seconds one loop tick may wait; loops, workers")

    # -- Redis --------------------------------------------------------------------------------------------------------
    redis_url: SecretStr = Field(
        description="redis://, rediss://, redis+sentinel:// or rediss+sentinel://; the scheme picks the topology; all"
    )
    redis_password: SecretStr | None = Field(None, description="used when REDIS_URL has none; all")
    sentinel_password: SecretStr | None = Field(None, description="used when REDIS_URL has none; all")
    cache_key_prefix: str = Field("holdfast", min_length=1, description="prefix of every cache key; web")

    # -- dispatch and bridge ------------------------------------------------------------------------------------------
    ndvi_queue_backend: QueueBackend = Field(QueueBackend.CELERY, description="celery or stream; all")
    ndvi_stream_name: str = Field("holdfast:jobs", min_length=1, description="stream key; web, sweeper, bridge")
    ndvi_stream_group: str = Field("bridge", min_length=1, description="consumer group; bridge")
    ndvi_stream_dlq_name: str = Field("holdfast:jobs:dlq", min_length=1, description="dead-letter stream key; sweeper")
    ndvi_stream_maxlen: int = Field(
        30_000, ge=100, description="entries over all pools above which hints wait in Postgres; web, sweeper"
    )
    ndvi_stream_batch_size: int = Field(100, ge=1, le=1000, description="entries per read; bridge")
    ndvi_stream_block_ms: int = Field(1000, ge=1, le=10_000, description="milliseconds a read may block; bridge")
    ndvi_stream_claim_idle_ms: int = Field(
        5000, ge=100, description="milliseconds without acknowledgement before an entry is claimed; bridge"
    )
    bridge_consumer_name: str = Field("bridge-1", min_length=1, description="stable consumer name; bridge")
    dispatch_budget_ms: int = Field(120, ge=10, le=2000, description="milliseconds one dispatch may take; web")
    dispatch_window: int = Field(10_000, ge=10, description="unclaimed hints per pool; web, sweeper")
    admission_limit: int = Field(
        1_000_000, ge=1, description="open jobs per pool above which new ones are answered 429; web"
    )

    # -- the job's life -----------------------------------------------------------------------------------------------
    sweeper_tick_seconds: float = Field(1.0, gt=0, le=60, description="seconds; sweeper")
    retention_days: int = Field(30, ge=1, description="days params, result, files and events are kept; sweeper")
    dedup_days: int = Field(90, ge=1, description="days a finished request is recognised again; sweeper")

    # -- webhooks -----------------------------------------------------------------------------------------------------
    webhook_secret: SecretStr | None = Field(
        None, description="whsec_ and 24 to 64 random bytes in base64, signs webhooks; worker-io"
    )
    webhook_allow_cidrs: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="networks that webhooks may reach beside the public Internet, comma-separated; worker-io"
    )

    # -- HTTP ---------------------------------------------------------------------------------------------------------
    api_rate_limit: int | None = Field(
        None, ge=1, description="requests per minute and key for keys without a limit of their own; web"
    )
    web_threads: int = Field(16, ge=2, le=128, description="request threads; web")
    max_request_bytes: int = Field(2_000_000, ge=1024, description="bytes of a JSON body; web")
    max_scene_bytes: int = Field(512_000_000, ge=1024, description="bytes of an uploaded scene; web")

    # -- files --------------------------------------------------------------------------------------------------------
    files_dir: Path = Field(Path("/var/lib/holdfast/files"), description="directory of stored files; web, workers")
    scratch_dir: Path = Field(
        Path("/var/lib/holdfast/scratch"), description="directory on disk for uploads and rasters; web, workers"
    )
    history_dir: Path = Field(
        Path("/var/lib/holdfast/history"), description="directory of what HOLDFAST_HISTORY writes; web, loops, workers"
    )
    static_dir: Path = Field(Path("/app/static"), description="directory of collected static files; web")
    heartbeat_file: Path = Field(Path("/run/holdfast/heartbeat"), description="touched by each loop; health checks")

    # -- the example domain -------------------------------------------------------------------------------------------
    ndvi_upstream_url: str = Field(
        "http://scenes:8080/", pattern="^https?://", description="STAC API that ndvi.field searches; worker-io"
    )

    # -- metrics ------------------------------------------------------------------------------------------------------
    metrics_port: int = Field(
        9100, ge=1, le=65535, description="port of /metrics; web, workers, bridge, sweeper, exporter"
    )

    @field_validator("allowed_hosts", "csrf_trusted_origins", "domain_apps", "webhook_allow_cidrs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "holdfast_api_key", "redis_password", "sentinel_password", "api_rate_limit", "webhook_secret", mode="before"
    )
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("webhook_secret")
    @classmethod
    def _is_a_signing_secret(cls, value: SecretStr | None) -> SecretStr | None:
        text = _plain(value) or ""
        if text and PLACEHOLDER not in text and not _is_webhook_secret(text):
            raise ValueError("is not whsec_ and 24 to 64 bytes in base64")
        return value

    @field_validator("redis_url")
    @classmethod
    def _names_a_topology(cls, value: SecretStr) -> SecretStr:
        try:
            redis_topology.parse(value.get_secret_value())
        except redis_topology.RedisUrlError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _keep_rows_as_long_as_their_results(self) -> "Environment":
        if self.dedup_days < self.retention_days:
            raise ValueError("DEDUP_DAYS must not be smaller than RETENTION_DAYS: raise DEDUP_DAYS")
        return self

    @model_validator(mode="after")
    def _a_connection_for_each_thread(self) -> "Environment":
        if self.database_pool_size <= self.web_threads:
            raise ValueError(
                f"DATABASE_POOL_SIZE ({self.database_pool_size}) must be greater than WEB_THREADS ({self.web_threads}):"
                " each request thread and /readyz may hold a connection; raise DATABASE_POOL_SIZE or lower WEB_THREADS"
            )
        return self

    def topology(self) -> redis_topology.Topology:
        """The topology that REDIS_URL names, with the passwords that stand beside it."""
        return redis_topology.parse(
            self.redis_url.get_secret_value(),
            password=_plain(self.redis_password),
            sentinel_password=_plain(self.sentinel_password),
        )


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _is_webhook_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix(_WEBHOOK_PREFIX), validate=True)
    except ValueError:
        return False
    return text.startswith(_WEBHOOK_PREFIX) and 24 <= len(key) <= 64


def load_or_exit() -> Environment:
    """The process's environment; a faulty one ends the process with the whole report instead of a traceback."""
    try:
        return load()
    except EnvironmentInvalid as error:
        sys.exit(str(error))


def load(environ: Mapping[str, str] | None = None) -> Environment:
    """Reads the environment once.

    Every `NAME` may be given as `NAME_FILE`, the path of a file with the value. Raises EnvironmentInvalid with all
    problems at once.
    """
    values, problems = _resolve_files(dict(os.environ if environ is None else environ))
    _compose_database_url(values)
    problems += _placeholders(values)
    try:
        loaded = _FromMapping.read(values)
    except ValidationError as error:
        problems += [_describe(item) for item in error.errors()]
    else:
        if not problems:
            return loaded
    raise EnvironmentInvalid(_report(problems))


class _FromMapping(Environment):
    """Environment fed from a mapping only, so that a test can give ten wrong variables and os.environ stays out."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: object, **__: object
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls
        return (init_settings,)

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Environment:
        known = {name: values[name.upper()] for name in cls.model_fields if name.upper() in values}
        return cls(**known)  # type: ignore[arg-type]


def _resolve_files(environ: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Replaces `NAME_FILE=path` by `NAME=<content>` for each name that we know."""
    problems = []
    for name in _readable_names():
        path = environ.get(name + _FILE_SUFFIX)
        if not path:
            continue
        if environ.get(name):
            problems.append(f"{name}: set {name} or {name}{_FILE_SUFFIX}, not both")
            continue
        try:
            environ[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{name}{_FILE_SUFFIX}: cannot read {path} ({error}): run `make up`, which writes it")
    return environ, problems


def _readable_names() -> tuple[str, ...]:
    return (*(name.upper() for name in Environment.model_fields), *_POSTGRES_PARTS)


def _compose_database_url(values: dict[str, str]) -> None:
    if values.get("DATABASE_URL") or not all(values.get(name) for name in _POSTGRES_PARTS):
        return
    host, user, password, name = (values[part] for part in _POSTGRES_PARTS)
    port = values.get("POSTGRES_PORT", "5432")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    values["DATABASE_URL"] = f"postgresql://{login}@{host}:{port}/{quote(name, safe='')}"


def _placeholders(values: Mapping[str, str]) -> list[str]:
    if values.get("HOLDFAST_ENVIRONMENT") == Deployment.TEST:
        return []
    return [
        f"{name}: still the placeholder of .env.example: run `make up`, which generates it"
        for name in _readable_names()
        if PLACEHOLDER in values.get(name, "")
    ]


def _describe(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails is a TypedDict of Any
    name = str(item["loc"][0]).upper() if item["loc"] else ""
    if item["type"] == "missing":
        return f"{name}: missing: {_fix(name)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}: {_fix(name)}" if name else message


def _fix(name: str) -> str:
    if name == "DATABASE_URL":
        return "set DATABASE_URL, or POSTGRES_HOST, POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB"
    description = Environment.model_fields[name.lower()].description
    return f"set {name} ({description}), see .env.example"


def _report(problems: list[str]) -> str:
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return f"{len(problems)} problem(s) in the environment:\n{lines}"
