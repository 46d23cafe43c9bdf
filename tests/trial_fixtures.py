"""Fixtures of the tests that run plans."""

from collections import Counter
from typing import ClassVar

import pytest

from kit.standin import StandIn
from kit.standin import server as standin_server
from kit.trials import runner
from kit.trials.runner import StandIns


@pytest.fixture
def path(tmp_path):
    """Where a ledger may be."""
    return tmp_path / "trials.sqlite"


@pytest.fixture
def unwatched(monkeypatch):
    """Thousands of sessions of frames that other tests hold to the official types."""
    monkeypatch.setattr(standin_server, "OBSERVERS", [])


class Troubled(StandIns):
    """Sends the first attempt of chosen trials to stand-ins that have a fault."""

    faults: ClassVar[dict] = {}
    seen: ClassVar[Counter] = Counter()

    async def __aenter__(self):
        await super().__aenter__()
        self.faulty = {}
        for name in set(self.faults.values()):
            self.faulty[name] = await self._stack.enter_async_context(StandIn(faults=[name]))
        return self

    def server(self, trial):
        self.seen[trial.trial_id] += 1
        fault = self.faults.get(trial.trial_id)
        if fault is None or (self.seen[trial.trial_id] > 1 and not fault.endswith("every")):
            return super().server(trial)
        return self.faulty[fault]


@pytest.fixture
def trouble(monkeypatch):
    """Give trials faults, by trial id: ``trouble({trial_id: "drop"})``."""

    def give(faults):
        Troubled.faults, Troubled.seen = faults, Counter()
        monkeypatch.setattr(runner, "StandIns", Troubled)

    return give
