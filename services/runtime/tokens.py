"""Bearer tokens: a file of hashes, read again when it changes. Whoever reads the file learns no token.

A line is `<name> <scopes> <sha256 of the token in hexadecimal>`, scopes joined by commas; `#` begins a comment. A name
may stand twice, so that a new token is valid before the old one is taken away.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from pathlib import Path
from time import monotonic

import structlog
from msgspec import Struct

from contracts.errors import SetupError

log = structlog.get_logger()

READ, WRITE, ADMIN = "read", "write", "admin"
#: What a scope includes.
INCLUDES = {READ: frozenset({READ}), WRITE: frozenset({READ, WRITE}), ADMIN: frozenset({READ, WRITE, ADMIN})}
PREFIX = "mst_"
_LOOK_EVERY_S = 1.0
_MOST_OF_A_NAME = 2
_MOST_BYTES = 1024 * 1024
_LINE = re.compile(r"([A-Za-z0-9_.@-]{1,64})\s+([a-z,]{1,64})\s+([0-9a-f]{64})")


class Token(Struct, frozen=True):
    """A token as it is known: never itself, only its hash."""

    name: str
    scopes: frozenset[str]
    digest: bytes


class Tokens:
    """The tokens of a file, as they are now; a file that breaks later leaves those that were valid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._tokens = read(path)
        self._looked_at = monotonic()

    def find(self, presented: str) -> Token | None:
        """Return the token that was presented; every one is compared, each in constant time."""
        self._look()
        digest = hashlib.sha256(presented.encode()).digest()
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def _look(self) -> None:
        if monotonic() < self._looked_at + _LOOK_EVERY_S:
            return
        self._looked_at = monotonic()
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._tokens = read(self._path)
        except SetupError as error:
            log.error("tokens_not_read", error=str(error))  # noqa: TRY400 - it is understood
        else:
            log.info("tokens_read", tokens=len(self._tokens))


def read(path: Path) -> tuple[Token, ...]:
    """Read a file of tokens; raises `SetupError` naming the line that is wrong."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SetupError(f"{path} is too large to be a file of tokens")
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"cannot read the tokens in {path}: {error}. Make one: missions token NAME") from error
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    tokens = tuple(_token(line, f"{path}:{number}") for number, line in lines if line)
    name, times = Counter(token.name for token in tokens).most_common(1)[0] if tokens else ("", 0)
    if times > _MOST_OF_A_NAME:
        raise SetupError(f"{path}: {name} has {times} tokens, at most two may be valid: take the oldest away")
    return tokens


def new(name: str, scopes: tuple[str, ...]) -> tuple[str, str]:
    """Make a token; return it, and its line for the file. It can never be shown again."""
    token = PREFIX + secrets.token_urlsafe(32)
    return token, f"{name} {','.join(scopes)} {hashlib.sha256(token.encode()).hexdigest()}"


def _token(line: str, where: str) -> Token:
    found = _LINE.fullmatch(line)
    scopes = found[2].split(",") if found else []
    if found is None or not set(scopes) <= INCLUDES.keys():
        raise SetupError(f"{where}: not <name> <read|write|admin, joined by commas> <sha256 in hexadecimal>")
    included = frozenset(scope for name in scopes for scope in INCLUDES[name])
    return Token(found[1], included, bytes.fromhex(found[3]))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
