"""The description of an app, OpenAPI 3.1, from the table of its routes: what is served is what is described."""

from __future__ import annotations

import functools
import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from services.runtime.problems import MEDIA_TYPE, Problem

VERSION = "1"
_COMPONENTS = "#/components/schemas/{name}"
_PROBLEM = {"$ref": _COMPONENTS.format(name="Problem")}
_REFUSALS = {400: "the request is not understood", 500: "our fault"}
_MEANINGS = {202: "it is stored", 304: "the asker has this version", 503: "not now"}
_GUARDED = {401: "no token that is known", 403: "the token lacks the scope"}

Endpoint = Callable[[Request], Awaitable[Response]]
#: A type that msgspec can describe, or a JSON Schema; None where nothing but headers is sent.
Shape = Any


class Parameter(Struct, frozen=True):
    """A parameter of a request; `schema` is its JSON Schema, of each of its values where it `repeats`."""

    name: str
    description: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})
    where: str = "query"
    repeats: bool = False
    required: bool = False

    def described(self) -> dict[str, Any]:
        """Return it as OpenAPI has it."""
        schema = {"type": "array", "items": dict(self.schema)} if self.repeats else dict(self.schema)
        found: dict[str, Any] = {"name": self.name, "in": self.where, "description": self.description, "schema": schema}
        return found | ({"required": True} if self.required or self.where == "path" else {})


class Operation(Route):
    """A route that says what it takes and what it answers. Paths with parameters can be not found."""

    def __init__(  # noqa: PLR0913 - what a description consists of
        self,
        path: str,
        endpoint: Endpoint,
        summary: str,
        *,
        method: str = "GET",
        parameters: Sequence[Parameter] = (),
        body: Shape = None,
        answers: Mapping[int, Shape] | None = None,
        media_types: Mapping[str, Shape] | None = None,
        problems: Mapping[int, str] | None = None,
        is_open: bool = False,
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.summary = summary
        self.method = method
        self.parameters = tuple(parameters)
        self.body = body
        self.answers = dict(answers or {})
        self.media_types = dict(media_types or {})
        self.problems = dict(problems or {})
        self.is_open = is_open


def document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of all routes that describe themselves."""
    operations = [route for route in routes if isinstance(route, Operation)]
    schemas, components = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    token = {"type": "http", "scheme": "bearer", "description": "Needed where MISSIONS_TOKENS_FILE is set"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Missions",
            "version": VERSION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items())), "securitySchemes": {"token": token}},
    }


def _shapes(operation: Operation) -> list[Shape]:
    return [*operation.answers.values(), *operation.media_types.values(), operation.body]


def _schemas(operations: Sequence[Operation]) -> tuple[dict[int, Any], dict[str, Any]]:
    """Return the schema of every shape, by identity, and the components that they share."""
    shapes = [shape for operation in operations for shape in _shapes(operation) if _is_type(shape)]
    sent = Sent()
    found, components = msgspec.json.schema_components(
        [*(sent.form(shape) for shape in shapes), Problem], ref_template=_COMPONENTS
    )
    return {id(shape): schema for shape, schema in zip(shapes, found, strict=False)}, dict(components)


class Sent:
    """The forms in which types are sent: every field is there, unless the type leaves out what is not set."""

    def __init__(self) -> None:
        self._known: dict[type[Struct], type[Struct]] = {}

    def form(self, shape: Any) -> Any:
        """Return the type to describe; what is kept byte for byte may be anything."""
        if shape is msgspec.Raw:
            return Any
        if isinstance(shape, type) and issubclass(shape, Struct):
            return self._struct(shape)
        arguments = tuple(part if part is ... else self.form(part) for part in get_args(shape))
        if not arguments or get_origin(shape) in {Annotated, Literal}:
            return shape
        origin = get_origin(shape)
        return functools.reduce(operator.or_, arguments) if origin is UnionType else origin[arguments]

    def _struct(self, shape: type[Struct]) -> type[Struct]:
        if shape.__struct_config__.omit_defaults:
            return shape
        if shape not in self._known:
            hints = get_type_hints(shape, include_extras=True)
            fields = [(name, self.form(hints[name])) for name in shape.__struct_fields__]
            self._known[shape] = msgspec.defstruct(shape.__name__, fields, kw_only=True)
            self._known[shape].__doc__ = shape.__doc__
        return self._known[shape]


def _is_type(shape: Shape) -> bool:
    return shape is not None and not isinstance(shape, Mapping)


def _schema(shape: Shape, schemas: Mapping[int, Any]) -> Any:
    return schemas[id(shape)] if _is_type(shape) else dict(shape)


def _described(operation: Operation, schemas: Mapping[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _name(operation),
        "responses": _responses(operation, schemas),
    }
    if operation.parameters:
        found["parameters"] = [parameter.described() for parameter in operation.parameters]
    if operation.body is not None:
        content = {"application/json": {"schema": _schema(operation.body, schemas)}}
        found["requestBody"] = {"required": True, "content": content}
    if not operation.is_open:
        found["security"] = [{}, {"token": []}]
    return found


def _name(operation: Operation) -> str:
    parts = [part.strip("{}").replace(".", "_") for part in operation.path.split("/") if part]
    return "_".join([operation.method.lower(), *parts]) if parts else f"{operation.method.lower()}_root"


def _responses(operation: Operation, schemas: Mapping[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, shape in operation.answers.items():
        found[str(status)] = _answer(status, {} if shape is None else {"application/json": shape}, schemas)
    if operation.media_types:
        found["200"] = _answer(200, operation.media_types, schemas)
    problems = _REFUSALS | operation.problems | ({} if operation.is_open else _GUARDED)
    if "{" in operation.path:
        problems = {404: "there is no such thing"} | problems
    for status, meaning in sorted(problems.items()):
        found.setdefault(str(status), {"description": meaning, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}})
    return found


def _answer(status: int, shapes: Mapping[str, Shape], schemas: Mapping[int, Any]) -> dict[str, Any]:
    content = {media_type: {"schema": _schema(shape, schemas)} for media_type, shape in shapes.items()}
    return {"description": _MEANINGS.get(status, "the answer")} | ({"content": content} if content else {})
