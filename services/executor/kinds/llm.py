"""The kind `llm`: asks a model of the OpenAI-compatible endpoint that the settings name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.executor.context import Context, Reject
from services.executor.outside import extras, llm_endpoint
from services.executor.registry import goal

Text = Annotated[str, Field(max_length=200_000)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Schema = Annotated[dict[str, Any], Field(description="JSON Schema that the answer must follow")]


class Message(BaseModel):
    """One turn of the talk."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Text


Messages = Annotated[tuple[Message, ...], Field(min_length=1, max_length=256)]


@goal("llm", retries=2, backoff=2.0)
async def llm(  # noqa: PLR0913 - each is a param of the goal
    ctx: Context,
    *,
    prompt: Text | None = None,
    system: Text | None = None,
    messages: Messages | None = None,
    model: str | None = None,
    max_tokens: Annotated[int, Field(ge=1)] | None = None,
    temperature: Temperature | None = None,
    schema: Schema | None = None,
) -> dict[str, Any]:
    """Ask a model, by `prompt` or `messages`: its text (or `json`, with a `schema`), and the tokens used."""
    talk = conversation(prompt, system, messages)
    endpoint = llm_endpoint.configured()
    model, max_tokens = endpoint.model(model), endpoint.tokens(max_tokens)
    await extras.need(ctx.kind, "openai", extra="llm")
    from services.executor.outside import llm_call  # noqa: PLC0415 - only now: it imports the SDK

    question = llm_call.Question(model, talk, max_tokens, temperature, schema)
    return await llm_call.ask(endpoint, question, lambda count, tail: ctx.progress(count, note=tail))


def conversation(prompt: str | None, system: str | None, messages: Messages | None) -> list[dict[str, str]]:
    """Return the talk to send; raises `Reject` unless it is given in one of both ways."""
    if (prompt is None) == (messages is None):
        raise Reject("give prompt (and perhaps system), or messages")
    if messages is not None and system is not None:
        raise Reject("give system as the first of the messages")
    if messages is not None:
        return [message.model_dump() for message in messages]
    opening = [{"role": "system", "content": system}] if system is not None else []
    return [*opening, {"role": "user", "content": prompt or ""}]
