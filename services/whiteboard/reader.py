"""Reading many single records: the segments that were read last stay open, and so does what was unpacked of them."""

from __future__ import annotations

from services.whiteboard import segments
from services.whiteboard.journal import Journal
from services.whiteboard.record import Record
from services.whiteboard.segment_files import Reading, Segment

_MOST_OPEN = 4


class Reader:
    """Reads a journal that nobody changes meanwhile."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._opened: list[tuple[Reading, Segment]] = []

    def read(self, seq: int, offset: int) -> Record | None:
        """Return one record by its sequence and the offset in its segment; None where it is damaged or gone."""
        found = self._segment(seq)
        if found is None:
            return None
        reading, part = found
        record = segments.record_at(reading, offset)
        if record is None:
            self._journal.met(part, offset)
        return record if record is not None and record.seq == seq else None

    def close(self) -> None:
        """Let go of the files."""
        for reading, _ in self._opened:
            reading.close()

    def _segment(self, seq: int) -> tuple[Reading, Segment] | None:
        for reading, part in self._opened:
            if part.first <= seq <= part.last:
                return reading, part
        found = self._journal.opened(seq - 1)
        if found is not None:
            if len(self._opened) == _MOST_OPEN:
                self._opened.pop(0)[0].close()
            self._opened.append(found)
        return found
