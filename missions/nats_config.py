"""The configuration of a nats-server as we need it."""

from __future__ import annotations

import json
from pathlib import PurePath

HOST = "127.0.0.1"

#: What every nats-server of ours runs with, embedded or not; `deploy/nats.conf` says the same.
SERVER = {"max_payload": "512KB", "max_connections": "1000", "write_deadline": '"5s"'}
JETSTREAM = {"sync_interval": "always", "max_file_store": "10GB", "max_memory_store": "256MB"}
#: Version 2 of the ack subjects asks for other permissions than version 1; one form is enough.
FEATURE_FLAGS = {"js_ack_fc_v2": "false", "js_api_reply_v2": "false"}

_LAZY_SYNC = '"2m"'  # the server's own default


def render_config(
    data_dir: PurePath, *, port: int = 0, monitor_port: int = 0, sync_always: bool = True, host: str = HOST
) -> str:
    """Return the configuration of a server on `data_dir`: one setting per line, loopback only unless told otherwise.

    For port 0 the server takes a free one and names it in `<data_dir>/nats-server_<pid>.ports`.
    """
    jetstream = JETSTREAM if sync_always else JETSTREAM | {"sync_interval": _LAZY_SYNC}
    return "\n".join(
        [
            f'listen: "{host}:{port or -1}"',
            f'http: "{host}:{monitor_port or -1}"',
            f"ports_file_dir: {_quoted(data_dir)}",
            *_lines(SERVER),
            "jetstream {",
            *_lines({"store_dir": _quoted(data_dir / "js")} | jetstream, indent="  "),
            "}",
            "feature_flags {",
            *_lines(FEATURE_FLAGS, indent="  "),
            "}\n",
        ]
    )


def _quoted(path: PurePath) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _lines(settings: dict[str, str], indent: str = "") -> list[str]:
    return [f"{indent}{name}: {value}" for name, value in settings.items()]
