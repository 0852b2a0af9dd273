"""Settings: one frozen model, read once from `MISSIONS_*`; an unknown name is refused with the nearest known one."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from contracts.errors import InvalidIdentifier, SetupError
from contracts.ids import check_token

PREFIX = "MISSIONS_"
#: What Kubernetes injects for a Service called `missions` or `missions-…`; never a setting of ours.
_KUBERNETES = re.compile(r"MISSIONS_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_.*)?)")
_INJECTED_PORT = "tcp://"


def _words(value: Any) -> Any:
    """Split `a, b` at its commas (a path may have blanks), also inside a list as of a repeated option."""
    texts = [value] if isinstance(value, str) else value
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _queues(value: Any) -> Any:
    try:
        return tuple(check_token(word, "queue") for word in _words(value))
    except InvalidIdentifier as error:
        raise ValueError(str(error)) from error


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Queues = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_queues), Field(min_length=1)]


class Settings(BaseSettings):
    """Everything a service can be told. The environment names are `MISSIONS_` and the field in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    nats_url: str = Field(
        default="", description="NATS to use; empty: NATS_URL, the nats CLI context, nats://127.0.0.1:4222"
    )
    nats_creds: Path | None = Field(default=None, description="Credentials file (JWT and seed) for NATS")
    nats_nkey: Path | None = Field(default=None, description="File with the nkey seed for NATS")
    nats_ca: Path | None = Field(
        default=None, description="CA file that signed the certificate of NATS; switches TLS on"
    )
    nats_server: Path | None = Field(default=None, description="nats-server binary that `missions up` starts")
    connect_s: float = Field(default=10.0, gt=0, description="Seconds to wait for the first connection to NATS")
    data_dir: Path = Field(
        default=Path("missions-data"), description="Where the journal and the embedded broker keep data"
    )
    journal_segment_mb: float = Field(
        default=64, gt=0, le=4_096, description="MiB after which the journal begins another file; a new day does too"
    )
    journal_compress: bool = Field(default=False, description="Compress full files of the journal (gzip, for zgrep)")
    journal_keep_days: float = Field(
        default=0, ge=0, description="Days that records stay in the journal, in whole files; 0: for ever"
    )
    journal_keep_mb: float = Field(
        default=0, ge=0, description="MiB above which the oldest files of the journal go; 0: no limit"
    )
    min_free_mb: float = Field(
        default=256,
        ge=0,
        description="MiB that stay free on the journal's disk (at most 5 % of it), or the whiteboard takes nothing",
    )
    http_host: str = Field(default="127.0.0.1", description="Address to listen on")
    http_port: int | None = Field(default=None, ge=0, le=65_535, description="Port to listen on; 0: any free one")
    http_hosts: Words = Field(default=(), description="Further Host names that HTTP requests may carry; *: any")
    http_origins: Words = Field(default=(), description="Origins whose pages may read over HTTP (CORS); empty: none")
    http_insecure: bool = Field(
        default=False, description="Listen beyond loopback without tokens, where something else keeps strangers out"
    )
    tokens_file: Path | None = Field(
        default=None, description="File with the hashes of bearer tokens; HTTP then wants one: missions token"
    )
    token: SecretStr = Field(default=SecretStr(""), description="Token that the client and the command line send")
    token_file: Path | None = Field(
        default=None, description="File with that token, where it is not in the environment"
    )
    whiteboard_url: str = Field(
        default="http://127.0.0.1:8080", description="Where the command line finds the whiteboard"
    )
    goals: Words = Field(default=(), description="Modules or .py files that define goals")
    queues: Queues = Field(default=("default",), description="Queues that the executor serves")
    concurrency: int = Field(
        default=200, ge=1, le=10_000, description="Missions that one executor owns, and sync handlers it runs, at once"
    )
    parallel_goals: int = Field(
        default=10, ge=1, le=100, description="Goals of one mission that one executor runs side by side"
    )
    lease_s: float = Field(
        default=30.0,
        ge=0.3,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds after which a silent owner loses its mission",
    )
    max_owners: int = Field(default=5, ge=1, description="Owners a mission may lose before it fails as poison")
    goal_timeout_s: float = Field(
        default=3_600.0, gt=0, description="Timeout of an attempt at a goal that declares none"
    )
    sweep_every_s: float = Field(
        default=60.0, ge=0, le=86_400, description="Seconds between two sweeps for lost missions; 0: none"
    )
    artifact_bytes: int = Field(default=1024**3, ge=1, description="Largest artifact that a goal may keep, in bytes")
    cancel_grace_s: float = Field(
        default=5.0, gt=0, le=3_600, description="Seconds that a handler may take to stop once it was asked to"
    )
    max_detached: int = Field(
        default=20, ge=1, description="Handlers of a kind that may go on after they were given up; more are refused"
    )
    processes: int = Field(default=16, ge=1, le=1_000, description="Handlers in processes of their own, at once")
    handler_memory_mb: float = Field(
        default=2_048, gt=0, description="Address space of the process of a handler that declares no memory_mb, in MB"
    )
    handler_cpu_s: float = Field(
        default=3_600, gt=0, description="CPU seconds of the process of a handler that declares no cpu_s"
    )
    handler_output_kb: float = Field(
        default=1_024, gt=0, description="KB that a handler may print which declares no output_kb (process isolation)"
    )
    handler_file_mb: float = Field(
        default=10_240, gt=0, description="MB of the largest file that the process of a handler may write"
    )
    handler_env: Words = Field(
        default=(), description="Further environment variables that the processes of handlers are given"
    )
    manage_streams: bool = Field(default=True, description="Create and update streams; false: only check them")
    http_allow: Words = Field(default=(), description="Hosts that the http goal kinds may call (host or host:port)")
    commands: Words = Field(
        default=(), description="Programs that the goal kind `command` may run (name=/absolute/program words [...])"
    )
    command_env: Words = Field(
        default=(), description="Environment variables that those programs get, besides PATH, LANG, LC_*, TZ"
    )
    mcp_servers: Path | None = Field(
        default=None,
        description="JSON file with the `mcpServers`, and their `tools`, that the goal kind `mcp` may call",
    )
    llm_base_url: str = Field(default="", description="OpenAI-compatible endpoint of the goal kind `llm`, with its /v1")
    llm_models: Words = Field(
        default=(), description="Models that a goal of the kind `llm` may ask; the first is the default"
    )
    llm_key_file: Path | None = Field(default=None, description="File with the API key of that endpoint")
    llm_max_tokens: int = Field(
        default=4_096, ge=1, description="Most tokens that one answer of the kind `llm` may have"
    )
    stop_grace_s: float = Field(default=3.0, ge=0, description="Seconds that running handlers get on SIGTERM")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log level"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else JSON"
    )


def load(**overrides: Any) -> Settings:
    """Read the environment once; raises `SetupError` naming the setting, what is wrong and the nearest known name."""
    refuse_unknown(os.environ)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SetupError("; ".join(_explain(item) for item in error.errors())) from error


def token_of(settings: Settings) -> str:
    """Return the token to send, empty where there is none; raises `SetupError`."""
    if settings.token.get_secret_value() or settings.token_file is None:
        return settings.token.get_secret_value()
    try:
        return settings.token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"cannot read the token in {settings.token_file}: {error}") from error


def _explain(item: Mapping[str, Any]) -> str:
    name = "_".join(str(part) for part in item["loc"][:1]).upper()
    return f"{PREFIX}{name}={item['input']!r}: {item['msg']}"


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raise `SetupError` for a `MISSIONS_*` name that is no setting, unless Kubernetes injected it."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in known or _injected(name, value):
            continue
        nearest = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(sorted(known))}"
        raise SetupError(f"unknown setting {name}{hint}")


def _injected(name: str, value: str) -> bool:
    return _KUBERNETES.fullmatch(name) is not None and (not name.endswith("_PORT") or value.startswith(_INJECTED_PORT))
