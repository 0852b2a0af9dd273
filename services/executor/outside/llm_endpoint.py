"""Which endpoint and which models the kind `llm` may ask, and with what key."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from contracts.errors import SetupError
from services.executor.context import Reject
from services.runtime import settings
from services.runtime.settings import Settings

_NO_KEY = "none"  # what a server without keys is told


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server; the first of `models` is the default."""

    base_url: str
    models: tuple[str, ...]
    max_tokens: int
    key: str = field(default=_NO_KEY, repr=False)

    @classmethod
    def of(cls, read: Settings) -> Endpoint | None:
        """Return the endpoint of the settings, if there is one; raises `SetupError` for one that cannot be used."""
        if not read.llm_base_url:
            return None
        url = urlsplit(read.llm_base_url)
        if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
            raise SetupError("MISSIONS_LLM_BASE_URL is no URL of an endpoint, such as http://127.0.0.1:11434/v1")
        if not read.llm_models:
            raise SetupError("MISSIONS_LLM_BASE_URL needs MISSIONS_LLM_MODELS: the models that goals may ask")
        key = _key(read.llm_key_file) if read.llm_key_file else _NO_KEY
        return cls(read.llm_base_url.rstrip("/"), read.llm_models, read.llm_max_tokens, key)

    def model(self, asked: str | None) -> str:
        """Return the model to ask; raises `Reject` for one that is not listed."""
        if asked is not None and asked not in self.models:
            raise Reject(f"the model {asked!r} is not in MISSIONS_LLM_MODELS; there are: {', '.join(self.models)}")
        return asked or self.models[0]

    def tokens(self, asked: int | None) -> int:
        """Return how many tokens an answer may have; raises `Reject` for more than the settings allow."""
        if asked is not None and asked > self.max_tokens:
            raise Reject(f"max_tokens={asked}: MISSIONS_LLM_MAX_TOKENS allows {self.max_tokens}")
        return asked or self.max_tokens

    def without_key(self, text: str) -> str:
        """Take the key out of a text, for a server may repeat it in an error."""
        return text if self.key == _NO_KEY else text.replace(self.key, "***")


def _key(file: Path) -> str:
    try:
        key = file.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise SetupError(f"MISSIONS_LLM_KEY_FILE: {file} cannot be read") from error
    if not key or not key.isascii() or not key.isprintable():
        raise SetupError(f"MISSIONS_LLM_KEY_FILE: {file} holds no key: it should be one line of ASCII")
    return key


@functools.cache
def configured() -> Endpoint:
    """Return the endpoint of the settings, read once; raises `Reject` where there is none or it is wrong."""
    try:
        endpoint = Endpoint.of(settings.load())
    except SetupError as error:
        raise Reject(str(error)) from error
    if endpoint is None:
        raise Reject(
            "no model may be asked yet: set MISSIONS_LLM_BASE_URL, for example http://127.0.0.1:11434/v1, and "
            "MISSIONS_LLM_MODELS"
        )
    return endpoint
