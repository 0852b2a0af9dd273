"""One question to a model, by the OpenAI SDK, streamed. Imported when a goal needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk

from contracts import codec
from contracts.errors import ContractError
from services.executor.context import Reject
from services.executor.outside.bounded import json_bytes
from services.executor.outside.llm_endpoint import Endpoint

_CONNECT_S = 10.0
#: Between two pieces of an answer; a model may think for a while before the first.
_SILENCE_S = 300.0
_MAX_TEXT_BYTES = 64 * 1024
_TAIL_CHARS = 200
_ERROR_CHARS = 1_000
_CLIENT_ERRORS, _SERVER_ERRORS = 400, 500
_NEWER_LIMIT = "max_completion_tokens"
_COME_BACK = frozenset({408, 409, 425, 429})

OnPiece = Callable[[int, str], None]


class ModelFailed(Exception):
    """There is no whole answer this time; another try may get one."""


@dataclass(frozen=True)
class Question:
    """What is asked, of which model."""

    model: str
    messages: list[dict[str, str]]
    max_tokens: int
    temperature: float | None = None
    schema: dict[str, Any] | None = None

    def body(self, limit: str) -> dict[str, Any]:
        """Return the request; `limit` is what the server calls the most tokens of an answer."""
        wanted: dict[str, Any] = {"temperature": self.temperature}
        if self.schema is not None:
            answer = {"name": "answer", "schema": self.schema, "strict": True}
            wanted["response_format"] = {"type": "json_schema", "json_schema": answer}
        return {
            "model": self.model,
            "messages": self.messages,
            limit: self.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in wanted.items() if value is not None},
        }


@dataclass
class Answer:
    """An answer as far as it has come."""

    model: str
    pieces: list[str] = field(default_factory=list)
    characters: int = 0
    size_bytes: int = 0
    refusal: str = ""
    finish_reason: str | None = None
    usage: dict[str, int] | None = None

    def take(self, chunk: ChatCompletionChunk) -> None:
        """Add the next piece; raises `Reject` where the answer gets too large for a result."""
        self.model = chunk.model or self.model
        if chunk.usage is not None:
            self.usage = {
                "prompt_tokens": chunk.usage.prompt_tokens,
                "completion_tokens": chunk.usage.completion_tokens,
                "total_tokens": chunk.usage.total_tokens,
            }
        for choice in chunk.choices or ():
            self.finish_reason = choice.finish_reason or self.finish_reason
            delta: Any = choice.delta  # the SDK does not check what it is given: there may be none
            self.refusal += getattr(delta, "refusal", None) or ""
            self._add(getattr(delta, "content", None) or "")

    def _add(self, text: str) -> None:
        self.pieces.append(text)
        self.characters += len(text)
        self.size_bytes += json_bytes(text)
        if self.size_bytes > _MAX_TEXT_BYTES:
            raise Reject(f"the answer is over {_MAX_TEXT_BYTES} bytes: ask for fewer max_tokens")

    @property
    def tail(self) -> str:
        """The end of the text so far."""
        end = ""
        for piece in reversed(self.pieces):
            end = piece + end
            if len(end) >= _TAIL_CHARS:
                break
        return end[-_TAIL_CHARS:]


async def ask(endpoint: Endpoint, question: Question, on_text: OnPiece) -> dict[str, Any]:
    """Ask and return the answer as a goal's result; the executor alone decides on another try.

    Raises `Reject` for what another try cannot mend (a client error of the server), and `ModelFailed` for the rest.
    """
    answer = Answer(question.model)
    with explained(endpoint):
        async with _client(endpoint) as client, await _stream(client, question) as stream:
            async for chunk in stream:
                answer.take(chunk)
                on_text(answer.characters, answer.tail)
    return result(question, answer)


async def _stream(client: openai.AsyncOpenAI, question: Question) -> openai.AsyncStream[ChatCompletionChunk]:
    """Send the question, once more where the server knows the limit by its newer name alone."""
    try:
        return await _sent(client, question.body("max_tokens"))
    except openai.BadRequestError as error:
        if _NEWER_LIMIT not in str(error.body):
            raise
    return await _sent(client, question.body(_NEWER_LIMIT))


async def _sent(client: openai.AsyncOpenAI, body: dict[str, Any]) -> openai.AsyncStream[ChatCompletionChunk]:
    return cast("openai.AsyncStream[ChatCompletionChunk]", await client.chat.completions.create(**body))


def _client(endpoint: Endpoint) -> openai.AsyncOpenAI:
    timeout = httpx2.Timeout(_SILENCE_S, connect=_CONNECT_S)
    # Nothing of the environment: not OPENAI_*, for the key must not reach another server than the one it is for.
    http = httpx2.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False)
    return openai.AsyncOpenAI(
        api_key=endpoint.key, base_url=endpoint.base_url, organization="", project="", max_retries=0, http_client=http
    )


@contextmanager
def explained(endpoint: Endpoint) -> Iterator[None]:
    """Turn the errors of the SDK into what the executor understands, without the key."""
    try:
        yield
    except openai.APIStatusError as error:
        told = endpoint.without_key(f"the model's server answered {error.status_code}: {_message(error)}")
        if _CLIENT_ERRORS <= error.status_code < _SERVER_ERRORS and error.status_code not in _COME_BACK:
            raise Reject(told) from None
        raise ModelFailed(told) from None
    except openai.APIConnectionError as error:
        why = type(error.__cause__ or error).__name__
        raise ModelFailed(f"no answer of the model's server ({why})") from None
    except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
        raise ModelFailed(endpoint.without_key(f"the answer broke off: {error}"[:_ERROR_CHARS])) from None


def _message(error: openai.APIStatusError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or error.response.reason_phrase)[:_ERROR_CHARS]


def result(question: Question, answer: Answer) -> dict[str, Any]:
    """Return what the goal returns; raises `ModelFailed` for half an answer and `Reject` for a refusal."""
    text = "".join(answer.pieces)
    if answer.finish_reason is None:
        raise ModelFailed(f"the answer broke off after {len(text)} characters")
    if answer.refusal or (answer.finish_reason == "content_filter" and not text):
        raise Reject(f"the model refuses: {answer.refusal[:_ERROR_CHARS] or 'its filter took the answer'}")
    found = {"model": answer.model, "finish_reason": answer.finish_reason, "usage": answer.usage}
    if question.schema is None:
        return {"text": text, **found}
    if answer.finish_reason == "length":
        raise Reject(f"the answer is not whole: it needs more than max_tokens={question.max_tokens}")
    return {"json": _parsed(text), **found}


def _parsed(text: str) -> Any:
    try:
        return codec.decode_any(text.encode())
    except ContractError:
        raise ModelFailed(f"the answer is no JSON, though it was asked to be: {text[:_TAIL_CHARS]}") from None
