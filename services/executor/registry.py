"""Goal kinds: the `goal` decorator marks a function, a `Registry` collects and checks what it is given."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.errors import ContractError, SetupError
from contracts.messages import KindSpec, RetryPolicy
from services.executor.declaring.limits import BadLimit, Limit, limit
from services.executor.declaring.placement import Isolation, Placement
from services.executor.declaring.signature import (
    Mistakes,
    Signature,
    kind_mistakes,
    option_mistakes,
    phrase_option_mistakes,
    read,
    where,
)

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK = "__missions_goal__"


class BadParams(ContractError):
    """The params do not fit the handler's signature."""


@dataclass(frozen=True)
class Declared:
    """What `@goal` was told."""

    kind: str
    retry: RetryPolicy
    timeout_s: float | None
    phrases: tuple[str, ...]
    concurrency: int | None = None
    concurrency_key: str = ""
    mistakes: tuple[str, ...] = ()  #: in what it was told, said when the function is added to a registry
    placement: Placement = field(default=Placement())


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
    placement: Placement = field(default=Placement())
    limit: Limit | None = None

    def validate(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for the function; raises `BadParams` naming the first wrong one."""
        model = self._validated(params, frozenset())
        assert model is not None  # noqa: S101 - nothing is left out
        return {name: vars(model)[name] for name in self.names}

    def check(self, known: dict[str, Any], pending: frozenset[str]) -> None:
        """Check the params that are known, and the names of those that have no value yet; raises `BadParams`."""
        for name in pending.difference(self.names):
            raise BadParams(f"goal kind {self.kind}: {self._unknown(name)}")
        self._validated(known, pending)

    def _validated(self, params: dict[str, Any], pending: frozenset[str]) -> BaseModel | None:
        """Return the params as a model, or None where only pending ones are missing."""
        try:
            return self.params.model_validate(params)
        except ValidationError as error:
            problems = [item for item in error.errors() if not _is_pending(item, pending)]
            problems.sort(key=lambda item: item["type"] != "extra_forbidden")  # a misspelt name explains a missing one
            if problems:
                raise BadParams(f"goal kind {self.kind}: {self._explain(problems[0])}") from None
        except Exception as error:  # a validator of the user's
            raise BadParams(
                f"goal kind {self.kind}: params cannot be checked: {type(error).__name__}: {error}"
            ) from error
        return None

    def _explain(self, problem: Mapping[str, Any]) -> str:
        where = ".".join(str(part) for part in problem["loc"]) or "params"
        return self._unknown(where) if problem["type"] == "extra_forbidden" else f"{where}: {problem['msg']}"

    def _unknown(self, name: str) -> str:
        nearest = difflib.get_close_matches(name, self.names, 1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"it takes: {', '.join(self.names) or 'nothing'}"
        return f"no such param {name!r}; {hint}"

    def announcement(self, queue: str) -> KindSpec:
        """Describe this kind for the orchestrator."""
        summary = (inspect.getdoc(self.function) or "").split("\n")[0][:256]
        schema = self.params.model_json_schema()
        return KindSpec(
            kind=self.kind,
            queue=queue,
            description=summary,
            phrases=self.phrases,
            params_schema=schema,
            isolation=self.isolation,
            timeout_s=self.timeout_s,
            retries=self.retry.max_attempts - 1,
        )


def _is_pending(problem: Mapping[str, Any], pending: frozenset[str]) -> bool:
    """Whether the problem is that a param is missing which has no value yet."""
    return problem["type"] == "missing" and len(problem["loc"]) == 1 and problem["loc"][0] in pending


def goal(  # noqa: PLR0913 - what can be said about a kind
    kind: str,
    *,
    retries: int = 0,
    timeout: float | None = None,
    phrases: tuple[str, ...] | list[str] = (),
    backoff: float = 1.0,
    max_backoff: float = 60.0,
    isolation: str | None = None,
    memory_mb: float | None = None,
    cpu_s: float | None = None,
    output_kb: float | None = None,
    cancel_grace: float | None = None,
    concurrency: int | None = None,
    concurrency_key: str = "",
) -> Callable[[Function], Function]:
    """Declare a function as the handler of a goal kind, such as `"report.build"`.

    An async function runs on the handlers' event loop, a sync one in a thread; never on the service's loop. `retries`
    counts the tries after the first, `backoff` is the first pause in seconds (it doubles, up to `max_backoff`),
    `timeout` bounds one try in seconds. `phrases` are chat texts that ask for it: `"say hello to {name}"`.
    `isolation="process"` runs either in a process of its own, which can be killed, and which `memory_mb`, `cpu_s` and
    `output_kb` limit. `cancel_grace` is how many seconds it may take to stop once it was asked to. `concurrency`
    bounds the tries at once in one executor process; `concurrency_key`, such as `"{customer}"`, counts them for each
    value of these params, and alone means one at once. The function stays callable as it is. What is wrong with any of
    this is said when the function is added to a registry, all at once.
    """
    bare: object = kind
    if isinstance(bare, (FunctionType, type)):
        raise SetupError(f'{where(bare)}: @goal needs the name of the kind: @goal("{bare.__name__}")')
    mistakes = (
        *kind_mistakes(kind),
        *option_mistakes(retries, timeout, backoff, max_backoff),
        *phrase_option_mistakes(phrases),
    )
    retry = RetryPolicy()
    if not mistakes:
        retry = RetryPolicy(max_attempts=retries + 1, backoff_s=backoff, max_backoff_s=max(max_backoff, backoff))
    placement = Placement(isolation, memory_mb, cpu_s, output_kb, cancel_grace)

    def mark(function: Function) -> Function:
        found = (*mistakes, *_hidden(function))
        said = () if mistakes else tuple(phrases)
        declared = Declared(
            kind, retry, timeout, said, concurrency, concurrency_key, mistakes=found, placement=placement
        )
        setattr(function, _MARK, declared)
        return function

    return mark


class Registry:
    """The goal kinds that one executor can do."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, function: Callable[..., Any]) -> None:
        """Add a function marked with `@goal`; raises `Mistakes` naming file and line where it cannot be one."""
        mark = _mark_of(function)
        if mark is None:
            raise Mistakes([f"{where(function)} is no goal: mark it with @goal('kind')"])
        handler = _handler(function, mark)
        known = self._handlers.get(handler.kind)
        if known is not None and not _same(known.function, function):
            raise Mistakes([f"{where(function)}: goal kind {handler.kind!r} twice, also at {where(known.function)}"])
        self._handlers[handler.kind] = handler

    def add_module(self, module: ModuleType) -> int:
        """Add every marked function of a module; return how many. Raises `Mistakes`, all those of the module."""
        marked = [value for value in vars(module).values() if _mark_of(value)]
        mistakes = list(_methods(module))
        for function in marked:
            try:
                self.add(function)
            except Mistakes as wrong:
                mistakes += wrong.mistakes
        if mistakes:
            raise Mistakes(mistakes)
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
    """Check a marked function; raises `Mistakes`, all there are."""
    signature, bound = _checked(function, declared)
    return Handler(
        kind=declared.kind,
        function=function,
        params=signature.params,
        retry=declared.retry,
        timeout_s=declared.timeout_s,
        phrases=declared.phrases,
        isolation=declared.placement.of(function),
        wants_context=signature.wants_context,
        names=signature.names,
        placement=declared.placement,
        limit=bound,
    )


def _checked(function: Callable[..., Any], declared: Declared) -> tuple[Signature, Limit | None]:
    """Return what a function takes and how many tries of it run at once; raises `Mistakes`."""
    told = (*declared.mistakes, *declared.placement.mistakes(function))
    mistakes = [f"{where(function)}: {mistake}" for mistake in told]
    try:
        signature = read(function, declared.kind, declared.phrases)
        bound = _limit(function, declared, signature.names)
    except Mistakes as wrong:
        raise Mistakes([*mistakes, *wrong.mistakes]) from wrong
    if mistakes:
        raise Mistakes(mistakes)
    return signature, bound


def _limit(function: Callable[..., Any], declared: Declared, names: tuple[str, ...]) -> Limit | None:
    try:
        return limit(declared.concurrency, declared.concurrency_key, names)
    except BadLimit as error:
        raise Mistakes([f"{where(function)}: {error}"]) from error


def _same(known: Callable[..., Any], function: Callable[..., Any]) -> bool:
    """Whether these are one function, be it of a file that was imported under two names; the later one counts."""
    if known.__module__ == function.__module__:
        return known is function
    return where(known) == where(function) and known.__qualname__ == function.__qualname__


def _mark_of(value: Any) -> Declared | None:
    """Return what `@goal` told of a member of a module, if it did."""
    mark = inspect.getattr_static(value, _MARK, None) if callable(value) else None
    return mark if isinstance(mark, Declared) else None


def _methods(module: ModuleType) -> Iterator[str]:
    """Yield marked methods of the module's own classes: nobody could call them."""
    for owner in vars(module).values():
        if inspect.isclass(owner) and owner.__module__ == module.__name__:
            for name, member in vars(owner).items():
                function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
                if _mark_of(member) or _mark_of(function):
                    yield f"{where(function)}: {owner.__name__}.{name} is a method: mark a function of the module"


def _hidden(function: Any) -> Iterator[str]:
    """Yield the goal that this function hides, because it was given the same name in the same file."""
    known: Any = getattr(function, "__globals__", {}).get(getattr(function, "__qualname__", None))
    mark = _mark_of(known)
    if mark is None or known is function:
        return
    before, here = where(known), where(function)
    if before != here and before.rpartition(":")[0] == here.rpartition(":")[0]:
        yield f"{function.__name__} hides goal kind {mark.kind!r} of {before}: give each function a name of its own"
