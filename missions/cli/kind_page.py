"""A goal kind as a person reads it: a row of a table, or a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from missions.cli.output import clean, compact, table

Kind = Mapping[str, Any]


def row(kind: Kind) -> tuple[str, ...]:
    """Return a kind as a row: its params as they are typed, with their types."""
    phrases = "; ".join(kind.get("phrases", ()))
    about = f"(off: {kind['off']}) {kind['description']}" if kind.get("off") else kind["description"]
    return kind["kind"], kind.get("queue", ""), params_of(kind["params_schema"]), phrases, about


def show(kind: Kind) -> None:
    """Print everything that is known of a kind."""
    click.echo(f"{kind['kind']}  {clean(kind['description'])}".rstrip())
    for name, value in facts(kind):
        click.echo(f"  {name:<10}{clean(value)}")
    schema = kind["params_schema"]
    if properties := _properties(schema):
        click.echo()
        rows = [(name, *param(name, about, schema)) for name, about in properties.items()]
        table(("PARAM", "TYPE", "DEFAULT", "DESCRIPTION"), rows)
    click.echo(f"\n{json.dumps(schema, indent=2, ensure_ascii=True)}")


def facts(kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield what its executor does with it, as far as it was announced."""
    if kind.get("off"):
        yield "off", kind["off"]
    if kind.get("queue"):
        yield "queue", kind["queue"]
    for phrase in kind.get("phrases", ()):
        yield "phrase", phrase
    if kind.get("isolation"):
        yield "runs in", {"loop": "the handlers' event loop"}.get(kind["isolation"], f"a {kind['isolation']}")
    if kind.get("timeout_s"):
        yield "timeout", f"{kind['timeout_s']:g} s a try"
    if kind.get("retries"):
        yield "retries", str(kind["retries"])


def params_of(schema: Mapping[str, Any]) -> str:
    """Return the params that a JSON Schema asks for: `name:type`, or `name:type=` with its default."""
    return " ".join(_short(name, about, schema) for name, about in _properties(schema).items())


def param(name: str, about: Any, schema: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return type, default and description of a param."""
    if not isinstance(about, dict):
        return "any", "", ""
    required = name in schema.get("required", ())
    default = compact(about["default"]) if "default" in about else "(required)" if required else ""
    return type_of(about), default, str(about.get("description", ""))


def type_of(about: Mapping[str, Any]) -> str:
    """Return what a value may be, in one word or a few."""
    if "enum" in about:
        return "|".join(value if isinstance(value, str) else compact(value) for value in about["enum"])
    if "const" in about:
        return compact(about["const"])
    for name in ("anyOf", "oneOf"):
        if isinstance(about.get(name), list):
            return "|".join(type_of(one) for one in about[name] if isinstance(one, dict))
    if "$ref" in about:
        return str(about["$ref"]).rpartition("/")[2]
    if about.get("type") == "array" and isinstance(about.get("items"), dict):
        return f"[{type_of(about['items'])}]"
    return str(about.get("format") or about.get("type") or "any")


def _short(name: str, about: Any, schema: Mapping[str, Any]) -> str:
    kind, default, _ = param(name, about, schema)
    return f"{name}:{kind}={default}" if isinstance(about, dict) and "default" in about else f"{name}:{kind}"


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}
