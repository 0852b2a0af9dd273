"""Whether a function can be the handler of a goal kind: everything that is wrong with it, found before it is needed."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from contracts.errors import InvalidIdentifier, SetupError
from contracts.ids import check_token, is_kind
from services.executor.context import Context

_CONFIG = ConfigDict(extra="forbid", coerce_numbers_to_str=True, arbitrary_types_allowed=False)
_REFUSED = {
    inspect.Parameter.POSITIONAL_ONLY: "a positional-only parameter",
    inspect.Parameter.VAR_POSITIONAL: "*args",
    inspect.Parameter.VAR_KEYWORD: "**kwargs",
}
_MAX_RETRIES = 10_000


class Mistakes(SetupError):
    """Goals that cannot be used: `mistakes`, each with file and line."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(dict.fromkeys(mistakes))
        super().__init__("; ".join(self.mistakes))


@dataclass(frozen=True)
class Signature:
    """What a function takes: `params` checks it, `names` are its parameters but for the context."""

    params: type[BaseModel]
    names: tuple[str, ...]
    wants_context: bool


def read(function: Callable[..., Any], kind: str, phrases: Iterable[str]) -> Signature:
    """Read the signature of a goal's function; raises `Mistakes`, all of them, each with file and line."""
    if mistake := _unfit(function):
        raise Mistakes([f"{where(function)}: {mistake}"])
    parameters = list(inspect.signature(function).parameters.values())
    hints = _hints(function)
    wants_context = bool(parameters) and _is_context(parameters[0], hints)
    params = parameters[1 if wants_context else 0 :]
    names = tuple(parameter.name for parameter in params)
    mistakes = [*map(_refused, params), *_phrase_mistakes(phrases, names)]
    if not any(map(_refused, params)):
        model, wrong = _checked_model(kind, {parameter.name: _field(parameter, hints) for parameter in params})
        mistakes += wrong
        if not any(mistakes):
            return Signature(model, names, wants_context)
    raise Mistakes(f"{where(function)}: {mistake}" for mistake in mistakes if mistake)


def where(function: Callable[..., Any]) -> str:
    """Return file and line of a function or a class."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        return f"{inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]}"
    except (OSError, TypeError):
        return repr(function)


def kind_mistakes(kind: Any) -> Iterator[str]:
    """Yield what is wrong with the name of a kind."""
    if not isinstance(kind, str) or not is_kind(kind):
        yield (
            f"kind {kind!r}: one to four words of A-Z a-z 0-9 _ - joined by dots, each of at most 64 letters, "
            "such as 'report.build'"
        )


def option_mistakes(retries: Any, timeout: Any, backoff: Any, max_backoff: Any) -> Iterator[str]:
    """Yield what is wrong with the numbers that `@goal` was given."""
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= _MAX_RETRIES:
        yield f"retries={retries!r}: how often to try again, a whole number from 0 to {_MAX_RETRIES}"
    if timeout is not None and not (_is_number(timeout) and timeout > 0):
        yield f"timeout={timeout!r}: seconds above 0 for one try, or None"
    for name, value in (("backoff", backoff), ("max_backoff", max_backoff)):
        if not (_is_number(value) and value >= 0):
            yield f"{name}={value!r}: seconds, 0 or more"


def phrase_option_mistakes(phrases: Any) -> Iterator[str]:
    """Yield what is wrong with the phrases that `@goal` was given, whatever the function takes."""
    if isinstance(phrases, str):
        yield f"phrases={phrases!r}: a list of phrases, [{phrases!r}]"
    elif not isinstance(phrases, (list, tuple)) or not all(isinstance(phrase, str) for phrase in phrases):
        yield f"phrases={phrases!r}: a list of texts"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _unfit(function: Callable[..., Any]) -> str:
    """Say why this can be no handler, whatever its parameters are."""
    if inspect.isclass(function):
        return f"the class {function.__name__} is no goal: mark a function"
    if isinstance(function, (staticmethod, classmethod)):
        return "a method is no goal: mark a function of the module"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return f"{function.__name__} yields: a goal returns its result, and tells of its way by ctx.progress"
    return ""


def _model(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    """Make the model of the params. They may be called `json` or `copy`: nobody calls those methods of this model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
        return create_model(name, __config__=_CONFIG, **fields)


def _checked_model(kind: str, fields: dict[str, Any]) -> tuple[type[BaseModel], list[str]]:
    """Make the model, and say which params or defaults cannot be checked by it."""
    try:
        model = _model(f"{kind} params", fields)
        model.model_json_schema()
    except (PydanticUserError, TypeError, NameError, ValueError) as error:
        first = str(error).partition("\n")[0]
        return BaseModel, [f"params of {kind!r} cannot be checked: {first}"]
    return model, list(_default_mistakes(model))


def _default_mistakes(model: type[BaseModel]) -> Iterator[str]:
    """Yield the defaults that their own annotation refuses: pydantic lets them pass, and the handler meets them."""
    for name, field in model.model_fields.items():
        if field.is_required():
            continue
        try:
            default = field.get_default(call_default_factory=True, validated_data={})
            model.__pydantic_validator__.validate_assignment(model.model_construct(), name, default)
        except ValidationError as error:
            problem = error.errors()[0]
            yield f"the default of {name}, {problem['input']!r}, is not what it may be: {problem['msg']}"
        except Exception as error:  # noqa: BLE001 - a factory or a validator of the user's
            yield f"the default of {name} cannot be checked: {type(error).__name__}: {error}"


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise Mistakes([f"{where(function)}: an annotation cannot be read: {error}"]) from error


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    return hints.get(parameter.name) is Context or (parameter.name == "ctx" and parameter.name not in hints)


def _refused(parameter: inspect.Parameter) -> str:
    if parameter.kind in _REFUSED:
        return f"a goal may not have {_REFUSED[parameter.kind]}: params are named"
    if parameter.name.startswith("_"):
        return f"a param may not begin with an underscore: {parameter.name}"
    return ""


def _field(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    default = ... if parameter.default is inspect.Parameter.empty else parameter.default
    return (hints.get(parameter.name, Any), default)


def _phrase_mistakes(phrases: Iterable[str], names: tuple[str, ...]) -> Iterator[str]:
    """Yield the phrases that name a parameter which the function does not have."""
    for phrase in phrases:
        for part in phrase.split("{")[1:]:
            name, closed, _ = part.partition("}")
            if not closed:
                yield f"phrase {phrase!r} has a {{ without its }}"
            elif not _is_token(name) or name not in names:
                yield f"phrase {phrase!r} names {name!r}, which is no parameter"


def _is_token(name: str) -> bool:
    try:
        return bool(check_token(name, "phrase placeholder"))
    except InvalidIdentifier:
        return False
