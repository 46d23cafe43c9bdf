"""What every test has: no key in the environment, and every frame of every in-process stand-in held to the official types.

The suite runs in one process, or in several with pytest-xdist (`-n 2 --dist loadgroup`): a file stays in one process, and so
do all tests of the sound card, which there is one of. The frames of all processes are judged together, when the last test ended.
"""

import os
import signal
from pathlib import Path

import pytest

from kit.standin import server as standin_server
from kit.standin.frames import InjectedFrame

# Where the suite runs in the background of a shell, Ctrl-C is ignored by it and by every program that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

KEYS = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "XAI_API_KEY")


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

    def __call__(self, facts):
        return WatchedConnection(self, facts["dialect"])

    def complaints(self):
        """Sentences on frames that are not the official types', and, of a whole suite, on types that never passed."""
        for problem, where in list(self.record.wrong.items())[:20]:
            yield f"{problem}\n    {where}"
        if self.whole_suite:
            yield from (f"no test sends a {' '.join(kind)}" for kind in sorted(self.record.left_out()))


class WatchedConnection:
    def __init__(self, watch, dialect):
        self.watch, self.dialect = watch, dialect

    def frame(self, direction, frame, refused):
        item = self.watch.item
        expected = item is not None and item.get_closest_marker("refusal") is not None
        self.watch.record.take(
            frame if isinstance(frame, str) else frame.decode() if direction == "server" else repr(frame),
            dialect=self.dialect,
            direction=direction,
            test=item.nodeid if item else "?",
            exempt=isinstance(frame, InjectedFrame) or (refused and expected),
        )

    def end(self, code, reason):
        pass


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
    for item in items:
        sound = item.get_closest_marker("sound_card")
        item.add_marker(pytest.mark.xdist_group("sound card" if sound else item.path.name))
        # A virtual card without a real-time kernel and Chromium's fake microphone skip now and then; a fault of ours stays.
        if sound or item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=2))
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    narrowed = config.option.keyword or config.option.markexpr or any("::" in arg for arg in config.args)
    config.stash[WATCH].whole_suite = not narrowed and files <= {item.path.name for item in items}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """A process of several ended: its record joins that of the one which reports."""
    watch, output = node.config.stash[WATCH], node.workeroutput
    watch.whole_suite = output["whole_suite"]
    watch.record.seen |= {tuple(kind) for kind in output["seen"]}
    watch.record.wrong |= output["wrong"]


def pytest_sessionfinish(session, exitstatus):
    watch = session.config.stash[WATCH]
    if hasattr(session.config, "workeroutput"):
        record = watch.record
        session.config.workeroutput |= {
            "whole_suite": watch.whole_suite,
            "seen": [list(kind) for kind in record.seen],
            "wrong": record.wrong,
        }
    elif exitstatus == 0 and any(watch.complaints()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if complaints := list(config.stash[WATCH].complaints()):
        terminalreporter.section("frames held to the official event types", red=True)
        for complaint in complaints:
            terminalreporter.write_line(complaint)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """In CI a browser or sound-card test that did not run is a failure: it would hide a missing install step."""
    outcome = yield
    report = outcome.get_result()
    needed = item.get_closest_marker("browser") or item.get_closest_marker("sound_card")
    if report.skipped and needed and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{needed.name} test skipped in CI: {report.longrepr}"
