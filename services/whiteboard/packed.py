"""Full segments, compressed: gzip in members of whole lines, so that `zgrep` works and one line costs one member.

Each member says in its head where its bytes stand in the segment, so a reader finds its place without unpacking what
comes before, and a damaged member costs no lines of others.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

from msgspec import Struct

_MEMBER_BYTES = 1 << 18
_LEVEL = 6
#: So many members stay unpacked: the records of one mission stand in two or three.
_MOST_OPEN = 4
_RAW, _GZIP = -15, 31
#: What gzip calls the name of a file is where a member keeps its place: an extra field, which is there for such things,
#: is refused by some readers.
_MAGIC = b"\x1f\x8b\x08\x08" + bytes(5) + b"\xff"
#: Start, plain length, packed length; in hexadecimal, and behind them a checksum.
_PLACE = struct.Struct(">QIIH")
_HEAD_BYTES = len(_MAGIC) + 2 * _PLACE.size + 1
_TRAILER = struct.Struct("<II")
_SEARCH_BYTES = 1 << 20


class Member(Struct, frozen=True):
    """One member: where it stands in the file, and what part of the segment it holds."""

    position: int
    end: int
    start: int
    plain_bytes: int


def pack(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the members of a segment whose bytes come in blocks of any size."""
    start, rest = 0, b""
    for block in blocks:
        rest += block
        while cut := rest.find(b"\n", _MEMBER_BYTES) + 1:
            yield _member(start, rest[:cut])
            start, rest = start + cut, rest[cut:]
    if rest:
        yield _member(start, rest)


def _member(start: int, plain: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
    body = packer.compress(plain) + packer.flush()
    size = _HEAD_BYTES + len(body) + _TRAILER.size
    return _head(start, len(plain), size) + body + _TRAILER.pack(zlib.crc32(plain), len(plain))


def _head(start: int, plain_bytes: int, size: int) -> bytes:
    check = zlib.crc32(b"%d %d %d" % (start, plain_bytes, size)) & 0xFFFF
    return _MAGIC + _PLACE.pack(start, plain_bytes, size, check).hex().encode() + b"\0"


class Packed:
    """A compressed segment, read as if it were not. A member that cannot be unpacked reads as one bad line."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        state = os.fstat(self._descriptor)
        self._members = _members_of(path, state.st_ino, state.st_mtime_ns)
        last = self._members[-1] if self._members else Member(0, 0, 0, 0)
        self.size_bytes = last.start + last.plain_bytes
        self._open: dict[int, bytes] = {}  #: the members unpacked last

    def pread(self, size: int, offset: int) -> bytes:
        """Return bytes of the segment, as `os.pread` does."""
        found = []
        while size > 0 and offset < self.size_bytes:
            number = max(0, bisect_right(self._members, offset, key=attrgetter("start")) - 1)
            within = offset - self._members[number].start
            part = self._unpacked(number)[within : within + size]
            found.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(found)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _unpacked(self, number: int) -> bytes:
        plain = self._open.get(number)
        if plain is None:
            member = self._members[number]
            plain = _unpack(self._descriptor, member) or _bad_line(member.plain_bytes)
            self._open = dict([*self._open.items()][1 - _MOST_OPEN :]) | {number: plain}
        return plain


def _unpack(descriptor: int, member: Member) -> bytes | None:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(os.pread(descriptor, member.end - member.position, member.position))
    except zlib.error:
        return None
    return plain if unpacker.eof and len(plain) == member.plain_bytes else None


def _bad_line(size: int) -> bytes:
    return bytes(size - 1) + b"\n"


@lru_cache(maxsize=64)
def _members_of(path: Path, _inode: int, _changed_ns: int) -> tuple[Member, ...]:
    """Return the members of a file as it is; where each ends is told by the next one, for its own body may be gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size
        heads = list(_heads(descriptor, size))
    finally:
        os.close(descriptor)
    ends = [(position, start) for position, start, _ in heads[1:]]
    if heads:
        ends.append((size, heads[-1][1] + heads[-1][2]))
        if heads[0][1]:  # the head of the first cannot be read
            heads.insert(0, (0, 0, 0))
            ends.insert(0, heads[1][:2])
    return tuple(
        Member(position, end, start, following - start)
        for (position, start, _), (end, following) in zip(heads, ends, strict=True)
    )


def _heads(descriptor: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (position, start, plain length) of each member whose head is whole."""
    position = 0
    while position < size:
        place = _place(os.pread(descriptor, _HEAD_BYTES, position))
        if place is None:
            position = _next_head(descriptor, position + 1, size)
        else:
            start, plain_bytes, packed = place
            yield position, start, plain_bytes
            position += packed


def _place(head: bytes) -> tuple[int, int, int] | None:
    """Return start, plain and packed length that the head of a member names; None where it is none, or damaged."""
    if len(head) != _HEAD_BYTES or not head.startswith(_MAGIC):
        return None
    try:
        start, plain_bytes, size, _ = _PLACE.unpack(bytes.fromhex(head[len(_MAGIC) : -1].decode()))
    except ValueError:
        return None
    return (start, plain_bytes, size) if _head(start, plain_bytes, size) == head else None


def _next_head(descriptor: int, position: int, size: int) -> int:
    while position < size:
        chunk = os.pread(descriptor, _SEARCH_BYTES, position)
        found = chunk.find(_MAGIC)
        while found >= 0:
            if _place(os.pread(descriptor, _HEAD_BYTES, position + found)):
                return position + found
            found = chunk.find(_MAGIC, found + 1)
        position += max(1, len(chunk) - len(_MAGIC))
    return size
