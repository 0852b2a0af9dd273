"""`missions goals`: what can be asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from missions.cli.connection import broker_client, nats_url_option
from missions.cli.output import compact, emit, json_option, program, table, talk

if TYPE_CHECKING:
    from contracts.messages import KindSpec
    from missions.client import Client


@click.command()
@nats_url_option
@json_option
def goals(nats_url: str | None, as_json: bool) -> None:
    """List the goal kinds that executors have announced, with the phrases and the params that they take.

    \b
    Examples:
      missions goals
      missions goals --json
    """
    kinds = asyncio.run(_announced(broker_client(nats_url)))
    if as_json:
        emit({"items": [{name: getattr(kind, name) for name in kind.__struct_fields__} for kind in kinds]})
    elif kinds:
        table(("KIND", "QUEUE", "PARAMS", "PHRASES", "DESCRIPTION"), [_row(kind) for kind in kinds])
    else:
        talk(f"No executor has announced a goal kind. Start one: {program()} up, or missions executor")


async def _announced(client: Client) -> Sequence[KindSpec]:
    """Return the last announcement of every kind; says which ones cannot be read."""
    from contracts import codec, subjects, topology
    from contracts.errors import ContractError, TopologyError
    from services.runtime.bus import ApiError

    found = []
    async with client:
        try:
            stored = await (await client.bus()).last_per_subject(topology.KINDS, subjects.KINDS_ALL)
        except ApiError as error:
            raise TopologyError(f"The stream {topology.KINDS} cannot be read: {error}. Run: missions setup") from error
    for one in stored:
        try:
            found.append(codec.decode_kind(one.data))
        except ContractError as error:
            talk(f"{one.subject} is no announcement: {error}")
    return found


def _row(kind: KindSpec) -> tuple[str, ...]:
    phrases = "; ".join(kind.phrases)
    return kind.kind, kind.queue, params_of(kind.params_schema), phrases, kind.description


def params_of(schema: Mapping[str, Any]) -> str:
    """Return the params that a JSON Schema asks for, as they are typed: `name`, or `name=` with its default."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return ""
    return " ".join(_param(name, about) for name, about in properties.items())


def _param(name: str, about: Any) -> str:
    return f"{name}={compact(about['default'])}" if isinstance(about, dict) and "default" in about else name
