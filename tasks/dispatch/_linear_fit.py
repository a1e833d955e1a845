"""The time of a request as a line over its units: an overhead, and a time for each unit."""

import math


class LinearFit:
    """Weighted least squares of seconds over units, from a first observation on; the weight of older ones decays."""

    def __init__(self, units: float, seconds: float) -> None:
        self._n = self._u = self._s = self._uu = self._us = 0.0
        self._least = math.inf
        self.add(units, seconds, 1.0)

    def add(self, units: float, seconds: float, keep: float) -> None:
        """Add an observation; `keep` is the factor for the weights of all observations before it."""
        seconds = max(seconds, 1e-6)  # a clock with coarse ticks may show 0, by which nothing can be divided
        self._least = min(self._least, seconds)
        self._n = self._n * keep + 1.0
        self._u = self._u * keep + units
        self._s = self._s * keep + seconds
        self._uu = self._uu * keep + units * units
        self._us = self._us * keep + units * seconds
        mean, spread = self._u / self._n, self._uu / self._n - (self._u / self._n) ** 2
        overhead = 0.0
        if spread > (0.1 * mean) ** 2:  # requests of one size do not tell overhead from rate
            slope = (self._us / self._n - mean * self._s / self._n) / spread
            # Noise may give a negative overhead, or more than the quickest request took in all.
            overhead = min(max(self._s / self._n - slope * mean, 0.0), 0.9 * self._least)
        self.overhead = overhead
        self.unit_seconds = max(self._s / self._n - overhead, 0.1 * self._s / self._n) / mean
