"""Reading what the server writes: whole messages, many in one read, whatever bytes stand in their subjects."""

from __future__ import annotations

from nats.protocol.parser import Parser

_CRLF = b"\r\n"
_CRLF_BYTES = len(_CRLF)

Line = tuple[bytes, int, bytes, int, int]  #: subject, subscription, reply subject, size of the headers and of all


class LeanParser(Parser):
    """Hands over messages that are whole, and leaves every other line, such as PING and errors, to nats-py."""

    async def parse(self, data: bytes = b"") -> None:
        """Take what has come; the start of what is not whole yet stays in `buf`."""
        buffer = self.buf
        if buffer:
            data = bytes(buffer) + data
            buffer.clear()
        at = 0
        while (line_end := data.find(_CRLF, at)) >= 0:
            end = begin = line_end + _CRLF_BYTES
            if message := _message(data[at:line_end]):
                subject, sid, reply, head, size = message
                end = begin + size + _CRLF_BYTES
                if end > len(data):
                    break
                headers = data[begin : begin + head] if head else None
                await self.nc._process_msg(sid, subject, reply, data[begin + head : begin + size], headers)
            else:
                await super().parse(data[at:end])
            if self.buf is not buffer:  # the connection has begun anew meanwhile
                return
            at = end
        buffer.extend(data[at:])


def _message(line: bytes) -> Line | None:
    """Read the line that a message begins with; None for any other, and for what nats-py has to complain of.

    Only these blanks end a subject for the server; nats-py takes any white space for an end.
    """
    try:
        match line.split(b" "):
            case [b"HMSG", subject, sid, reply, head, size]:
                return subject, int(sid), reply, int(head), int(size)
            case [b"MSG", subject, sid, reply, size]:
                return subject, int(sid), reply, 0, int(size)
            case [b"HMSG", subject, sid, head, size]:
                return subject, int(sid), b"", int(head), int(size)
            case [b"MSG", subject, sid, size]:
                return subject, int(sid), b"", 0, int(size)
    except ValueError:
        pass
    return None
