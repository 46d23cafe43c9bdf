"""Every way in which a page's microphone can be left: its track ends, and a talk's session is closed. In real Chromium."""

import json

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from browser import CHROMIUM, chromium, jupyter_lab, open_notebook
from sound_in_chromium import IN_KERNEL, WITH_MICROPHONE, run, write_notebook

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

SETUP = """import json, sys
from kit import connect
from kit.connecting import in_thread
from kit.widgets import Recorder, VoiceChat
for widget in (Recorder, VoiceChat): widget._esm = widget._esm.replace('HIDDEN_MS = 10000', 'HIDDEN_MS = 300')
opened = []"""
TALK = "session = await in_thread(connect(quiet=True))\nopened.append(session)\nwidget = VoiceChat(session)\nwidget"
RECORD = "widget = Recorder()\nwidget"
REBIND = {TALK: "widget = VoiceChat(session)", RECORD: "widget = Recorder()"}
CURRENT = "window.jupyterapp.shell.currentWidget"
# What happens → the script that makes it happen. KERNEL is the notebook's kernel.
WAYS = {
    "the cell is run again": f"async () => {{ {CURRENT}.content.activeCellIndex = 1; await window.jupyterapp.commands.execute('notebook:run-cell'); }}",
    "outputs are cleared": "() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')",
    "the kernel restarts": f"() => {CURRENT}.sessionContext.session.kernel.restart()",
    "the kernel is shut down": f"() => {CURRENT}.sessionContext.shutdown()",
    "the kernel dies": "() => { window.kernel.requestExecute({ code: 'import os; os._exit(1)' }); }",
    "the tab is closed": f"async () => {{ const tab = {CURRENT}; await tab.context.save(); tab.close(); }}",
    "the name is used again": None,
    "the page is hidden": "() => { Object.defineProperty(document, 'hidden', { get: () => true }); document.dispatchEvent(new Event('visibilitychange')); }",
    "the red light is pressed": "() => document.querySelector('.kit-open:not([hidden])').click()",
}
WITHOUT_KERNEL = {"the kernel restarts", "the kernel is shut down", "the kernel dies"}
STAYS_OPEN = {"the red light is pressed"}
WATCHED = """() => {
  window.kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.clone();
  window.tracks = [];
  const open = MediaDevices.prototype.getUserMedia;
  MediaDevices.prototype.getUserMedia = async function (...args) {
    const stream = await open.apply(this, args);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
}"""
ENDED = "() => window.tracks.length && window.tracks.every(track => track.readyState === 'ended')"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("microphone")


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory):
    with jupyter_lab(root, tmp_path_factory.mktemp("home")) as running:
        yield running


def ask(page, code):
    return page.evaluate(IN_KERNEL.replace(f"{CURRENT}.sessionContext.session.kernel", "window.kernel"), code)


@pytest.mark.parametrize("cell", [TALK, RECORD], ids=["talk", "recorder"])
@pytest.mark.parametrize("way", WAYS)
def test_a_microphone_ends_when(lab, root, way, cell):
    write_notebook(root / "microphone.ipynb", SETUP, cell)
    with chromium(*WITH_MICROPHONE) as page:
        open_notebook(page, lab, "microphone.ipynb")
        page.evaluate(WATCHED)
        try:
            run(page)
            page.locator(".kit-main").click()
            page.locator(".kit-sound[data-state='recording'] .kit-open").wait_for(timeout=30_000)
            assert page.evaluate("() => window.tracks.map(track => track.readyState)") == ["live"]

            if WAYS[way] is None:
                ask(page, REBIND[cell])
            else:
                page.evaluate(WAYS[way])

            page.wait_for_function(ENDED, timeout=15_000)
            assert page.locator(".kit-open:visible").count() == 0
            if way in WITHOUT_KERNEL:
                page.get_by_role("alert").get_by_text("The kernel is gone").wait_for(timeout=5_000)
            elif cell is TALK:
                wait = "import asyncio\nfor _ in range(100):\n    if all(s.closed for s in opened[:1]): break\n    await asyncio.sleep(0.1)\n"
                if way in STAYS_OPEN:
                    wait = ""
                closed = json.loads(ask(page, f"{wait}print(json.dumps(bool(opened[0].closed)))"))
                assert closed is (way not in STAYS_OPEN)
        finally:
            page.evaluate("() => window.kernel.shutdown().catch(() => {})")


def test_one_microphone_has_one_owner_and_a_red_light_stands_on_every_widget(lab, root):
    write_notebook(root / "microphone.ipynb", SETUP, RECORD, "other = Recorder()\nother")
    with chromium(*WITH_MICROPHONE) as page:
        open_notebook(page, lab, "microphone.ipynb")
        page.evaluate(WATCHED)
        run(page)
        page.locator(".kit-main").first.click()
        page.locator(".kit-sound[data-state='recording']").wait_for(timeout=30_000)
        assert page.locator(".kit-open:visible").count() == 2

        page.locator(".kit-main").last.click()
        page.wait_for_function(
            "() => window.tracks.length === 2 && window.tracks[0].readyState === 'ended' && window.tracks[1].readyState === 'live'",
            timeout=30_000,
        )
        page.locator(".kit-main").last.click()
        page.wait_for_function(ENDED, timeout=15_000)
        page.evaluate("() => window.kernel.shutdown()")
