"""How fast a goal gets on, and so how long the rest will take. Pure."""

from __future__ import annotations

from collections import deque

#: The pace is that of the last so many seconds, looked at this often: old speed says little about what is left.
_WINDOW_S = 60.0
_SAMPLE_S = 2.0
#: Before so much time has passed, nobody knows a pace.
_LEAST_S = 1.0


class Pace:
    """What was reached when. Times are those of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()  #: (at, done), the last one is the newest there is

    def reached(self, done: float, at: float) -> None:
        """Take note of how far it is; counting from the start again is a new pace."""
        samples = self._samples
        if samples and done < samples[-1][1]:
            samples.clear()
        if len(samples) > 1 and at - samples[-2][0] < _SAMPLE_S:
            samples.pop()
        samples.append((at, done))
        while len(samples) > 2 and at - samples[1][0] >= _WINDOW_S:  # noqa: PLR2004 - two make a pace
            samples.popleft()

    def seconds_to(self, total: float, now: float) -> float | None:
        """Return the seconds until `total` is reached, or None where there is no pace yet."""
        if not self._samples:
            return None
        (begun_at, begun), (at, done) = self._samples[0], self._samples[-1]
        if done >= total:
            return 0.0
        if at - begun_at < _LEAST_S or done <= begun:
            return None
        left = (total - done) * (at - begun_at) / (done - begun) - (now - at)
        return round(max(0.0, left), 1)
