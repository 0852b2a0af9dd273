"""The kind `llm` against a server on loopback that speaks the protocol, well and badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import SetupError
from services.executor.context import Reject
from services.executor.outside import llm_endpoint
from services.executor.outside.llm_call import ModelFailed
from services.executor.outside.llm_endpoint import Endpoint
from services.runtime.settings import Settings
from tests.support.chat_server import USAGE, ChatServer, chatting
from tests.support.eventually import eventually
from tests.support.kind_calls import KindCall

pytestmark = pytest.mark.timeout(60)  # the SDK takes seconds to import on a busy machine

KEY = "sk-secret-1"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatServer]:
    (tmp_path / "key").write_text(f"{KEY}\n")
    async with chatting() as server:
        monkeypatch.setenv("MISSIONS_LLM_BASE_URL", server.url)
        monkeypatch.setenv("MISSIONS_LLM_MODELS", "small, newer")
        monkeypatch.setenv("MISSIONS_LLM_KEY_FILE", str(tmp_path / "key"))
        monkeypatch.setenv("MISSIONS_LLM_MAX_TOKENS", "500")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/never")
        monkeypatch.setenv("OPENAI_API_KEY", "of-somebody-else")
        monkeypatch.setenv("OPENAI_ORG_ID", "of-somebody-else")
        llm_endpoint.configured.cache_clear()
        yield server
        await eventually(lambda: server.open == 0)
    llm_endpoint.configured.cache_clear()


async def asked(prompt: str, **params: Any) -> Any:
    return await KindCall("llm", prompt=prompt, **params).result()


async def test_the_answer_comes_with_its_end_and_its_tokens(server: ChatServer) -> None:
    assert await asked("one two") == {
        "text": "one two ", "model": "small-1", "finish_reason": "stop", "usage": USAGE,
    }  # fmt: skip
    assert server.asked == [
        {
            "model": "small",
            "messages": [{"role": "user", "content": "one two"}],
            "max_tokens": 500,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


async def test_only_the_key_of_the_settings_is_sent(server: ChatServer) -> None:
    await asked("hi")
    (head,) = server.headers
    assert f"authorization: bearer {KEY}\r\n" in head.lower()
    assert "of-somebody-else" not in head


async def test_system_messages_temperature_and_a_limit_are_passed_on(server: ChatServer) -> None:
    await asked("hi", system="be brief", temperature=0.5, max_tokens=9)
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    await KindCall("llm", messages=talk, model="newer").result()
    first, *_, last = server.asked
    assert first["messages"][0] == {"role": "system", "content": "be brief"}
    assert (first["temperature"], first["max_tokens"]) == (0.5, 9)
    assert last["messages"] == talk


async def test_a_model_that_knows_the_limit_by_its_newer_name_is_asked_so(server: ChatServer) -> None:
    assert (await asked("hi", model="newer"))["text"] == "hi "
    assert [body.get("max_completion_tokens") for body in server.asked] == [None, 500]


async def test_a_schema_makes_the_answer_json(server: ChatServer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert (await asked('{"a":1}', schema=schema))["json"] == {"a": 1}
    assert server.asked[0]["response_format"]["json_schema"]["schema"] == schema
    with pytest.raises(ModelFailed, match="is no JSON, though it was asked to be: not json"):
        await asked("not json", schema=schema)
    with pytest.raises(Reject, match="needs more than max_tokens=500"):
        await asked("end length", schema=schema)


async def test_half_an_answer_says_so_in_its_finish_reason(server: ChatServer) -> None:
    assert (await asked("end length"))["finish_reason"] == "length"


async def test_the_text_so_far_is_progress(server: ChatServer) -> None:
    call = KindCall("llm", prompt="hang " + "word " * 100)
    running = asyncio.ensure_future(call.result())
    said = await eventually(call.said, within_s=30)
    assert said.progress is not None
    assert said.progress.note.split()[-1] == "word"
    assert len(said.progress.note) <= 200
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: server.open == 0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_another_try_cannot_mend_is_rejected(server: ChatServer, status: int) -> None:
    with pytest.raises(Reject, match=rf"answered {status}: wrong \*\*\*"):
        await asked(f"{status} wrong {KEY}")
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_what_another_try_may_mend_fails_after_one_request(server: ChatServer, status: int) -> None:
    with pytest.raises(ModelFailed, match=f"answered {status}: busy"):
        await asked(f"{status} busy")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("cut after this", "the answer broke off after 15 characters"),
        ("drop", "no answer of the model's server"),
        ("odd {", "the answer broke off"),
        ('odd {"error": {"message": "overloaded"}}', "overloaded"),
        ("odd [DONE]", "broke off after 0 characters"),
        ('odd {"choices": null}', "broke off after 0 characters"),
        ('odd {"choices": [{"index": 0, "delta": null}]}', "broke off after 0 characters"),
    ],
)
async def test_a_stream_that_breaks_off_is_worth_another_try(server: ChatServer, prompt: str, said: str) -> None:
    with pytest.raises(ModelFailed, match=said):
        await asked(prompt)


async def test_an_answer_that_fits_no_result_is_rejected_and_the_stream_left(server: ChatServer) -> None:
    with pytest.raises(Reject, match="over 65536 bytes"):
        await asked("long")


async def test_a_refusal_is_no_answer(server: ChatServer) -> None:
    with pytest.raises(Reject, match="the model refuses: I will not"):
        await asked('odd {"choices": [{"delta": {"refusal": "I will not"}, "finish_reason": "stop"}]}')
    with pytest.raises(Reject, match="its filter took the answer"):
        await asked('odd {"choices": [{"delta": {}, "finish_reason": "content_filter"}]}')


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "give prompt"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "give prompt"),
        ({"messages": [{"role": "user", "content": "b"}], "system": "c"}, "first of the messages"),
        ({"prompt": "a", "model": "large"}, "'large' is not in MISSIONS_LLM_MODELS; there are: small, newer"),
        ({"prompt": "a", "max_tokens": 501}, "MISSIONS_LLM_MAX_TOKENS allows 500"),
    ],
)
async def test_params_that_cannot_be_asked_are_rejected(server: ChatServer, params: dict[str, Any], said: str) -> None:
    with pytest.raises(Reject, match=said):
        await KindCall("llm", **params).result()
    assert server.asked == []


async def test_without_settings_it_is_off_and_says_how_to_switch_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISSIONS_LLM_BASE_URL", raising=False)
    llm_endpoint.configured.cache_clear()
    with pytest.raises(Reject, match="no model may be asked yet: set MISSIONS_LLM_BASE_URL, for example"):
        await asked("hi")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"llm_base_url": "localhost:1"}, "no URL"),
        ({"llm_base_url": "http://a:b@host/v1"}, "no URL"),
        ({"llm_base_url": "http://host/v1"}, "needs MISSIONS_LLM_MODELS"),
        ({"llm_base_url": "http://host/v1", "llm_models": "a", "llm_key_file": "/absent"}, "cannot be read"),
        ({"llm_base_url": "http://host/v1", "llm_models": "a", "llm_key_file": "/dev/null"}, "holds no key"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        Endpoint.of(Settings(**settings))


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(Endpoint("http://host/v1", ("a",), 1, KEY))
