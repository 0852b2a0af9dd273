"""What options take that click has no type for."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(rf"(\d+)([{''.join(_UNITS)}])")


class PortNumber(click.IntRange):
    """A port; 0 is a free one."""

    name = "port number"

    def __init__(self) -> None:
        super().__init__(0, 65_535)


class Seconds(click.FloatRange):
    """A time to wait, zero or more, that ends."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return number


class Age(click.ParamType[float]):
    """A length of time, such as `90s`, `12h` or `30d`; in seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        age = _AGO.fullmatch(value)
        if age is None:
            self.fail(f"{value!r} is no length of time: 12h, 30d, 8w.", param, ctx)
        try:
            return timedelta(**{_UNITS[age[2]]: int(age[1])}).total_seconds()
        except OverflowError:
            self.fail(f"{value!r} is too long.", param, ctx)


class Moment(click.ParamType[str]):
    """A time as the whiteboard reads it; `90s`, `30m`, `1h`, `2d` and `1w` are so long ago."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        ago = _AGO.fullmatch(value)
        if ago is None:
            if not value[:1].isdigit() or " " in value:
                self.fail(f"{value!r} is no time: write 2d for two days ago, or 2026-01-31T14:03:00Z.", param, ctx)
            return value
        try:
            moment = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            self.fail(f"{value!r} is too long ago.", param, ctx)
        return moment.isoformat().replace("+00:00", "Z")
