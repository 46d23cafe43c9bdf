"""Fixtures of the tests that run plans."""

from collections import Counter
from typing import ClassVar

import pytest

from kit.standin import StandIn
from kit.standin import server as standin_server
from kit.trials import runner
from kit.trials.runner import Places


@pytest.fixture
def path(tmp_path):
    """Where a ledger may be."""
    return tmp_path / "trials.sqlite"


@pytest.fixture
def unwatched(monkeypatch):
    """Thousands of sessions of frames that other tests hold to the official types."""
    monkeypatch.setattr(standin_server, "OBSERVERS", [])


class Troubled(Places):
    """Sends the first attempt of chosen trials to stand-ins that have a fault."""

    faults: ClassVar[dict] = {}
    seen: ClassVar[Counter] = Counter()

    async def __aenter__(self):
        await super().__aenter__()
        self.places = {}
        for name in set(self.faults.values()):
            self.places[name] = await self._stack.enter_async_context(StandIn(faults=[name]))
        return self

    def of(self, trial, attempt=1):
        where, url = super().of(trial, attempt)
        self.seen[trial.trial_id] += 1
        fault = self.faults.get(trial.trial_id)
        if fault is None or (self.seen[trial.trial_id] > 1 and not fault.endswith("every")):
            return where, url
        return where, f"{self.places[fault].url}?{url.partition('?')[2]}"


@pytest.fixture
def trouble(monkeypatch):
    """Give trials faults, by trial id: ``trouble({trial_id: "drop"})``."""

    def give(faults):
        Troubled.faults, Troubled.seen = faults, Counter()
        monkeypatch.setattr(runner, "Places", Troubled)

    return give
