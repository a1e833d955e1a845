"""FIFO service in a number of slots, in ideal time.

A timer of an event loop fires late, by up to a millisecond on a quiet machine and more on a busy one. Here a
slot's next request starts when the one before *should* have ended, not when the loop noticed, so lateness
never adds up and a node that always has work does exactly its rate.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.nodes.bursts import ALWAYS, Bursts


@dataclass(slots=True, eq=False)
class Job:
    """A request in the queue or in a slot; `work` is seconds at speed 1, `arrived` loop time.

    `started` is called when a slot takes it up.
    """

    work: float
    arrived: float
    texts: int
    done: Callable[[], None]
    begun: float = 0.0
    started: Callable[[], None] | None = None
    slot: Slot | None = None


@dataclass(slots=True, eq=False)
class Slot:
    """A server of the queue; `free_at` is the ideal end of its job, or of its last one."""

    number: int
    job: Job | None = None
    free_at: float = 0.0
    timer: asyncio.TimerHandle | None = None


class Service:
    """Serves jobs first come, first served, and keeps when each slot was busy."""

    KEPT = 200_000

    def __init__(self, slots: int, speed: float = 1.0, bursts: Bursts = ALWAYS) -> None:
        """All slots idle. Must be made where the loop runs."""
        self._loop = asyncio.get_running_loop()
        self._slots = [Slot(number) for number in range(slots)]
        self._queue: deque[Job] = deque()
        self._speed = speed
        self._bursts = bursts
        self.busy: list[tuple[int, float, float, int]] = []
        self.max_in_service = 0

    @property
    def speed(self) -> float:
        """Its speed now."""
        return self._speed

    @property
    def queued(self) -> int:
        """Jobs that wait for a slot."""
        return len(self._queue)

    @property
    def in_service(self) -> int:
        """Jobs in a slot."""
        return sum(slot.job is not None for slot in self._slots)

    def submit(self, job: Job) -> None:
        """Queue a job; `job.done` is called at its end."""
        for slot in self._slots:
            if slot.job is None:
                self._start(slot, job)
                return
        self._queue.append(job)

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue or out of its slot, which is free from now on."""
        if job.slot is None:
            if job in self._queue:
                self._queue.remove(job)
            return
        slot = job.slot
        if slot.job is job:
            slot.free_at = self._loop.time()
            self._free(slot)

    def set_speed(self, speed: float, bursts: Bursts = ALWAYS) -> None:
        """Change the speed; what is being served has the rest of its work done at the new one."""
        now = self._loop.time()
        for slot in self._slots:
            if slot.job is not None and slot.free_at > now:
                left = (self._bursts.worked(slot.free_at) - self._bursts.worked(now)) * self._speed
                slot.free_at = bursts.end(now, left / speed)
                self._arm(slot)
        self._speed, self._bursts = speed, bursts

    def _start(self, slot: Slot, job: Job) -> None:
        job.slot, slot.job = slot, job
        job.begun = max(job.arrived, slot.free_at)
        slot.free_at = self._bursts.end(job.begun, job.work / self._speed)
        self.max_in_service = max(self.max_in_service, self.in_service)
        self._arm(slot)
        if job.started is not None:
            job.started()

    def _arm(self, slot: Slot) -> None:
        if slot.timer is not None:
            slot.timer.cancel()
        slot.timer = self._loop.call_at(slot.free_at, self._finish, slot)

    def _finish(self, slot: Slot) -> None:
        job = slot.job
        assert job is not None
        self._free(slot)
        job.done()

    def _free(self, slot: Slot) -> None:
        job = slot.job
        assert job is not None
        if slot.timer is not None:
            slot.timer.cancel()
            slot.timer = None
        if len(self.busy) < self.KEPT and slot.free_at > job.begun:
            self.busy.append((slot.number, job.begun, slot.free_at, job.texts))
        slot.job = None
        if self._queue:
            self._start(slot, self._queue.popleft())
