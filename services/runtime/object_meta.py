"""What the object store says about an object, in the words of ADR-20."""

from __future__ import annotations

import base64

import msgspec

from services.runtime.incoming import Stored

BUCKET = "ARTIFACTS"
_DIGEST = "SHA-256="


class Options(msgspec.Struct, frozen=True):
    """What ADR-20 calls the options of an object."""

    max_chunk_size: int = 0


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about an object: the message that ends its upload, in the words of ADR-20."""

    name: str
    bucket: str = BUCKET
    nuid: str = ""
    size: int = 0
    chunks: int = 0
    digest: str = ""
    mtime: str = ""
    headers: dict[str, list[str]] = {}
    options: Options | None = None
    deleted: bool = False

    @property
    def sha256(self) -> str:
        """The digest in hexadecimal digits; empty where there is none to read."""
        try:
            return base64.urlsafe_b64decode(self.digest.partition("=")[2]).hex()
        except ValueError:
            return ""


_decode_meta = msgspec.json.Decoder(Meta).decode


def meta_of(stored: Stored) -> Meta | None:
    """Read what is known about an object; None for what is no object any more, or never was one."""
    try:
        meta = _decode_meta(stored.data)
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if meta.deleted else meta


def digest_of(sha256: bytes) -> str:
    """Return a SHA-256 as objects have it."""
    return _DIGEST + base64.urlsafe_b64encode(sha256).decode()
