"""How many connections a track uses: more only while they bring more, fewer when the throughput collapses. Pure."""

_START = 8  # hosts that cap each connection reach line speed with 8 to 10
_WINDOW = 1.0  # seconds of full use that one judgement takes
_COLLAPSE = 0.3  # of the best rate seen
_STRIKES = 2  # windows in a row that a collapse takes
_REST = 20.0  # seconds before another connection is tried after one that brought nothing


class Concurrency:
    """``width`` is the number of connections to use now, at most ``most``.

    Success alone is no reason to add connections, throughput is: one more is kept when it brings at least half of what
    the others bring on average.
    """

    def __init__(self, most: int) -> None:
        self.width = min(most, _START)
        self._most = most
        self._best = 0.0
        self._strikes = 0
        self._rest_until = 0.0
        self._before: float | None = None  # the rate before the connection on trial
        self._mark: tuple[float, int] | None = None

    def observe(self, now: float, moved: int, used: int) -> None:
        """``moved`` bytes so far over ``used`` connections; called every tick. Only full use is judged."""
        if used < self.width or self._mark is None:
            self._mark = (now, moved)
            return
        began, from_ = self._mark
        if now - began >= _WINDOW:
            self._mark = (now, moved)
            self._judge(now, (moved - from_) / (now - began))

    def _judge(self, now: float, rate: float) -> None:
        before, self._before = self._before, None
        if before is not None and rate < before * (1 + 0.5 / (self.width - 1)):
            self.width -= 1
            self._rest_until = now + _REST
            return
        self._strikes = self._strikes + 1 if rate < self._best * _COLLAPSE else 0
        self._best = max(self._best, rate)
        if self._strikes >= _STRIKES:
            self.width, self._best, self._strikes = max(1, self.width // 2), rate, 0
            self._rest_until = now + _REST
        elif not self._strikes and self.width < self._most and now >= self._rest_until:
            self.width, self._before = self.width + 1, rate
