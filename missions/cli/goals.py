"""`missions goals`: what can be asked for."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from missions.cli import kind_page
from missions.cli.connection import broker_client, nats_url_option
from missions.cli.output import emit, json_option, program, table, talk

if TYPE_CHECKING:
    from missions.client import Client

_REFUSED = 78


@click.command()
@click.argument("kind", required=False)
@click.option("--check", multiple=True, metavar="FILE|MODULE", help="Load these goals here, without a broker.")
@nats_url_option
@json_option
def goals(kind: str | None, check: tuple[str, ...], nats_url: str | None, as_json: bool) -> int:
    """List the goal kinds that executors have announced, with the params that they take; or show one KIND whole.

    With --check, loads goals as an executor would and prints their kinds, or everything that is wrong with them.

    \b
    Examples:
      missions goals
      missions goals echo
      missions goals --check my_goals.py
    """
    if check:
        return _check(check, kind, as_json)
    kinds = asyncio.run(_announced(broker_client(nats_url)))
    if not kinds and not as_json:
        talk(f"No executor has announced a goal kind. Start one: {program()} up, or missions executor")
        return 0
    return _show(kinds, {"items": kinds}, kind, as_json)


def _check(names: Sequence[str], kind: str | None, as_json: bool) -> int:
    from missions import goal_files
    from services.executor.declaring.signature import Mistakes

    try:
        found = goal_files.described(names)
    except Mistakes as wrong:
        for mistake in wrong.mistakes:
            talk(f"missions: {mistake}")
        return _REFUSED
    return _show(found["items"], found, kind, as_json)


def _show(kinds: Sequence[Mapping[str, Any]], whole: Mapping[str, Any], kind: str | None, as_json: bool) -> int:
    """Print all kinds, or one; return 1 where that one is not there."""
    chosen = [item for item in kinds if kind in {None, item["kind"]}]
    if kind is not None and not chosen:
        near = difflib.get_close_matches(kind, [item["kind"] for item in kinds], 1)
        talk(f"missions: no goal kind {kind!r}" + (f"; did you mean {near[0]}?" if near else f": {program()} goals"))
        return 1
    if as_json:
        emit(whole if kind is None else {**whole, "items": chosen})
    elif kind is None:
        table(("KIND", "QUEUE", "PARAMS", "PHRASES", "DESCRIPTION"), [kind_page.row(item) for item in kinds])
    else:
        for item in chosen:
            kind_page.show(item)
    return 0


async def _announced(client: Client) -> Sequence[dict[str, Any]]:
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
            spec = codec.decode_kind(one.data)
        except ContractError as error:
            talk(f"{one.subject} is no announcement: {error}")
        else:
            found.append({name: getattr(spec, name) for name in spec.__struct_fields__})
    return found
