"""What `missions doctor` looks at, in order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from contracts.errors import BrokerUnfit, MissionsError, SetupError
from missions.cli import checks
from missions.cli.broker_checks import broker_checks
from missions.cli.checks import Check
from missions.cli.connection import settings
from services.runtime.bus import ApiError, Bus
from services.runtime.settings import Settings


async def examine(options: Mapping[str, Any], monitor_url: str | None) -> tuple[Settings | None, list[Check]]:
    """Run every check that can be run; return the settings, where they can be read, and what was found."""
    loaded, found = _settings(options)
    if loaded is not None:
        found += await _broker(loaded, monitor_url)
        found += [checks.disk(loaded), await checks.whiteboard(loaded)]
    return loaded, [*found, checks.extras()]


def _settings(options: Mapping[str, Any]) -> tuple[Settings | None, list[Check]]:
    """Read the settings; an unknown name is a finding, but no reason to stop."""
    unknown = checks.names(os.environ)
    try:
        return settings(**options), [unknown]
    except SetupError as error:
        if unknown.state == "ok":
            return None, [Check("settings", "fail", str(error), "correct its value")]
    try:
        return Settings(**options), [unknown]
    except ValidationError:
        return None, [unknown]


async def _broker(loaded: Settings, monitor_url: str | None) -> list[Check]:
    try:
        bus = await Bus.connect(loaded, service="doctor")
    except MissionsError as error:
        text, _, hint = str(error).partition(". ")
        return [Check("server" if isinstance(error, BrokerUnfit) else "connection", "fail", text, hint)]
    found: list[Check] = []
    try:
        async for check in broker_checks(bus, loaded, monitor_url):
            found.append(check)  # noqa: PERF401 - what was found before an error counts
    except (ApiError, MissionsError) as error:
        found.append(Check("broker", "fail", str(error), "the user of NATS may lack a permission"))
    finally:
        await bus.close()
    return found
