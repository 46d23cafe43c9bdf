"""What every test has: no key in the environment, and every frame of every in-process stand-in held to the official types."""

import os
from pathlib import Path

import pytest

from kit.standin import server as standin_server

KEYS = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "XAI_API_KEY")
LAST = "test_official_types.py"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    """Tests never pay."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


class Watch:
    """Sees each frame as it passes, and knows in which test."""

    def __init__(self):
        from official import Record

        self.record = Record()
        self.item = None
        self.whole_suite = False

    def __call__(self, seen):
        expected = self.item is not None and self.item.get_closest_marker("refusal") is not None
        self.record.take(
            seen.text,
            dialect=seen.dialect,
            direction=seen.direction,
            test=self.item.nodeid if self.item else "?",
            exempt=seen.on_purpose or (seen.refused and expected),
        )


WATCH = pytest.StashKey[Watch]()


def pytest_configure(config):
    config.stash[WATCH] = Watch()


def pytest_runtest_setup(item):
    item.config.stash[WATCH].item = item


@pytest.fixture(autouse=True, scope="session")
def watch(request):
    """Every frame of the suite goes to the record."""
    watch = request.config.stash[WATCH]
    standin_server.OBSERVERS.append(watch)
    yield watch
    standin_server.OBSERVERS.remove(watch)


def pytest_collection_modifyitems(config, items):
    """What judges the whole suite comes last, and knows whether it was the whole suite."""
    items.sort(key=lambda item: item.path.name == LAST)
    for item in items:
        # A virtual card without a real-time kernel and Chromium's fake microphone skip now and then; a fault of ours stays.
        if item.get_closest_marker("sound_card") or item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=2))
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    narrowed = config.option.keyword or config.option.markexpr or any("::" in arg for arg in config.args)
    config.stash[WATCH].whole_suite = not narrowed and files <= {item.path.name for item in items}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """In CI a browser or sound-card test that did not run is a failure: it would hide a missing install step."""
    outcome = yield
    report = outcome.get_result()
    needed = item.get_closest_marker("browser") or item.get_closest_marker("sound_card")
    if report.skipped and needed and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{needed.name} test skipped in CI: {report.longrepr}"
