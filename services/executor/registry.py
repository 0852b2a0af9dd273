"""Goal kinds: the `goal` decorator marks a function, a `Registry` collects and checks what it is given."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from contracts.errors import ContractError, SetupError
from contracts.ids import check_kind, check_token
from contracts.messages import KindSpec, RetryPolicy
from services.executor.context import Context

Function = TypeVar("Function", bound=Callable[..., Any])
Isolation = Literal["loop", "thread"]

_MARK = "__missions_goal__"
_CONFIG = ConfigDict(extra="forbid", coerce_numbers_to_str=True, arbitrary_types_allowed=False)
_REFUSED = {
    inspect.Parameter.POSITIONAL_ONLY: "a positional-only parameter",
    inspect.Parameter.VAR_POSITIONAL: "*args",
    inspect.Parameter.VAR_KEYWORD: "**kwargs",
}


class BadParams(ContractError):
    """The params do not fit the handler's signature."""


@dataclass(frozen=True)
class Declared:
    """What `@goal` was told."""

    kind: str
    retry: RetryPolicy
    timeout_s: float | None
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class Handler:
    """A goal kind and the function that does it. `wants_context`: its first parameter takes a `Context`."""

    kind: str
    function: Callable[..., Any]
    params: type[BaseModel]
    retry: RetryPolicy
    timeout_s: float | None
    phrases: tuple[str, ...]
    isolation: Isolation
    wants_context: bool
    names: tuple[str, ...] = field(default=())

    def validate(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for the function; raises `BadParams` naming the first wrong one."""
        try:
            model = self.params.model_validate(params)
        except ValidationError as error:
            raise BadParams(f"goal kind {self.kind}: {self._explain(error.errors()[0])}") from None
        except Exception as error:  # a validator of the user's
            raise BadParams(
                f"goal kind {self.kind}: params cannot be checked: {type(error).__name__}: {error}"
            ) from error
        return {name: vars(model)[name] for name in self.names}

    def _explain(self, problem: Mapping[str, Any]) -> str:
        where = ".".join(str(part) for part in problem["loc"]) or "params"
        if problem["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(where, self.names, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"it takes: {', '.join(self.names) or 'nothing'}"
            return f"no such param {where!r}; {hint}"
        return f"{where}: {problem['msg']}"

    def announcement(self, queue: str) -> KindSpec:
        """Describe this kind for the orchestrator."""
        summary = (inspect.getdoc(self.function) or "").split("\n")[0][:256]
        schema = self.params.model_json_schema()
        return KindSpec(kind=self.kind, queue=queue, description=summary, phrases=self.phrases, params_schema=schema)


def goal(
    kind: str,
    *,
    retries: int = 0,
    timeout: float | None = None,
    phrases: tuple[str, ...] | list[str] = (),
    backoff: float = 1.0,
    max_backoff: float = 60.0,
) -> Callable[[Function], Function]:
    """Declare a function as the handler of a goal kind, such as `"report.build"`.

    An async function runs on the handlers' event loop, a sync one in a thread; never on the service's loop. `retries`
    counts the tries after the first, `backoff` is the first pause in seconds (it doubles, up to `max_backoff`),
    `timeout` bounds one try in seconds. `phrases` are chat texts that ask for it: `"say hello to {name}"`.
    The function stays callable as it is. Raises `InvalidIdentifier` for a bad kind.
    """
    retry = RetryPolicy(max_attempts=retries + 1, backoff_s=backoff, max_backoff_s=max(max_backoff, backoff))
    if not isinstance(kind, str):
        raise SetupError(f'{_where(kind)}: @goal needs the name of the kind: @goal("{kind.__name__}")')
    declared = Declared(check_kind(kind), retry, timeout, tuple(phrases))

    def mark(function: Function) -> Function:
        setattr(function, _MARK, declared)
        return function

    return mark


class Registry:
    """The goal kinds that one executor can do."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, function: Callable[..., Any]) -> None:
        """Add a function marked with `@goal`; raises `SetupError` naming file and line where it cannot be one."""
        handler = _handler(function, getattr(function, _MARK))
        known = self._handlers.get(handler.kind)
        if known is not None and known.function is not function:
            raise SetupError(f"goal kind {handler.kind!r} twice: {_where(known.function)} and {_where(function)}")
        self._handlers[handler.kind] = handler

    def add_module(self, module: ModuleType) -> int:
        """Add every marked function of a module; return how many."""
        marked = [value for value in vars(module).values() if callable(value) and hasattr(value, _MARK)]
        for function in marked:
            self.add(function)
        return len(marked)

    def get(self, kind: str) -> Handler | None:
        """Return the handler of a kind, if there is one."""
        return self._handlers.get(kind)

    def __iter__(self) -> Iterator[Handler]:
        """Iterate over the handlers, by kind."""
        return iter(sorted(self._handlers.values(), key=lambda handler: handler.kind))

    @property
    def kinds(self) -> list[str]:
        """The known kinds, sorted."""
        return sorted(self._handlers)


def _handler(function: Callable[..., Any], declared: Declared) -> Handler:
    parameters = list(inspect.signature(function).parameters.values())
    hints = _hints(function)
    wants_context = bool(parameters) and _is_context(parameters[0], hints)
    fields = {
        parameter.name: _field(function, parameter, hints) for parameter in parameters[1 if wants_context else 0 :]
    }
    try:
        model = _model(f"{declared.kind} params", fields)
    except (PydanticUserError, TypeError, NameError, ValueError) as error:
        raise SetupError(f"{_where(function)}: params of {declared.kind!r} cannot be checked: {error}") from error
    return Handler(
        kind=declared.kind,
        function=function,
        params=model,
        retry=declared.retry,
        timeout_s=declared.timeout_s,
        phrases=_checked_phrases(function, declared, set(fields)),
        isolation="loop" if inspect.iscoroutinefunction(function) else "thread",
        wants_context=wants_context,
        names=tuple(fields),
    )


def _model(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    """Make the model of the params. They may be called `json` or `copy`: nobody calls those methods of this model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
        return create_model(name, __config__=_CONFIG, **fields)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise SetupError(f"{_where(function)}: an annotation cannot be read: {error}") from error


def _is_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    return hints.get(parameter.name) is Context or (parameter.name == "ctx" and parameter.name not in hints)


def _field(function: Callable[..., Any], parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    if parameter.kind in _REFUSED:
        raise SetupError(f"{_where(function)}: a goal may not have {_REFUSED[parameter.kind]}: params are named")
    default = ... if parameter.default is inspect.Parameter.empty else parameter.default
    return (hints.get(parameter.name, Any), default)


def _checked_phrases(function: Callable[..., Any], declared: Declared, names: set[str]) -> tuple[str, ...]:
    """Refuse a phrase that names a parameter which the function does not have."""
    for phrase in declared.phrases:
        for part in phrase.split("{")[1:]:
            name = part.partition("}")[0]
            if check_token(name, "phrase placeholder") not in names:
                raise SetupError(f"{_where(function)}: phrase {phrase!r} names {name!r}, which is no parameter")
    return declared.phrases


def _where(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
