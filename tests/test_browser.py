"""The notebooks in JupyterLab, in real Chromium, as a reader meets them."""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
import nbformat
from browser import CHROMIUM, chromium, jupyter_lab, open_notebook, outside, run_all, theme
from nbconvert import HTMLExporter
from sound_in_chromium import notebook, run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SILENT = ("03", "04", "05", "06")  # many trials: nothing is played
SHOTS = os.environ.get("KIT_SCREENSHOTS")  # a folder to keep pictures in, to be looked at


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    for file in [*NOTEBOOKS, *NOTEBOOKS[0].parent.glob("*.json")]:
        shutil.copy(file, root)
    with jupyter_lab(root, home) as running:
        yield running


def shoot(page, name):
    """Pictures of the whole notebook, a screen each, in both themes."""
    if not SHOTS:
        return
    for word in ("JupyterLab Light", "JupyterLab Dark"):
        theme(page, word)
        panel = page.locator(".jp-WindowedPanel-outer").first
        for n in range(12):
            panel.evaluate("(p, n) => p.scrollTo(0, n * (p.clientHeight - 60))", n)
            page.wait_for_function(
                "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
            )
            page.screenshot(path=f"{SHOTS}/{name}-{word.split()[-1].lower()}-{n:02d}.png")
            if panel.evaluate("p => p.scrollTop + p.clientHeight >= p.scrollHeight - 2"):
                break


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
def test_a_notebook_runs_and_its_sound_plays_with_nothing_fetched_from_outside(lab, name):
    with chromium() as page:
        open_notebook(page, lab, name)

        assert run_all(page) == []
        if not name.startswith(SILENT):
            player = page.locator("audio").first
            player.scroll_into_view_if_needed()
            player.evaluate("player => { player.volume = 0.5; return player.play(); }")
            page.wait_for_function("() => document.querySelector('audio').currentTime > 0.2", timeout=30_000)

        shoot(page, name.removesuffix(".ipynb"))
        assert outside(page.requested) == []
        assert page.problems == []


# A kernel elsewhere: what goes to it and what comes from it are 60 ms on their way.
FAR_AWAY = """
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) { setTimeout(() => send.call(this, data), 60); };
  const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
  Object.defineProperty(WebSocket.prototype, 'onmessage', {
    set(take) { set.call(this, take && (event => setTimeout(() => take.call(this, event), 60))); },
  });
"""


@pytest.mark.parametrize("far", ["", FAR_AWAY], ids=["here", "120 ms away"])
def test_the_chat_box_answers_with_a_badge(lab, far):
    with chromium() as page:
        page.add_init_script(far)
        open_notebook(page, lab, "01-test-case-1.ipynb")
        assert run_all(page) == []

        box = page.locator("textarea[placeholder^='Say something']").first
        box.scroll_into_view_if_needed()
        before = page.locator(".kit-turn").count()
        box.press_sequentially("One more <b>please</b>.", delay=0)
        box.press("Enter")
        box.press_sequentially("typed while it waits", delay=0)
        page.wait_for_function(
            "n => document.querySelectorAll('.kit-turn').length === n && document.querySelector('.kit-word').textContent === 'ready'",
            arg=before + 2,
            timeout=30_000,
        )

        turns = page.locator(".kit-turn")
        assert "One more <b>please</b>." in turns.nth(before).inner_text()  # what was typed, whatever the speed
        assert "text" in turns.nth(before + 1).inner_text()
        assert page.evaluate("() => document.activeElement.tagName") == "TEXTAREA"  # the next turn can be typed at once
        assert box.input_value() == "typed while it waits"


SHOWN = """from kit import Plan, connect, run, widgets
ledger = await run(Plan(['1a', '1b'], repeats=3), 'trials.sqlite', keep_sound=True)
session = await connect(quiet=True, drift='always')"""


def test_a_strip_leads_to_its_sound_and_a_notebook_without_a_kernel_still_tells_what_was_done(lab, root):
    cells = [
        SHOWN,
        "widgets.Trials(ledger)",
        "widgets.Chat(session)",
        "widgets.EventTable(session)",
        "widgets.Recorder()",
    ]
    with notebook(lab, root, *cells, name="shown.ipynb") as page:
        run(page)
        page.locator(".kit-strips a").first.click()
        player = page.locator(".kit-trials audio").last
        player.evaluate("player => player.play()")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.kit-trials audio')].some(a => a.currentTime > 0.2)"
        )
        page.locator("textarea[placeholder^='Say something']").press_sequentially("And now?\n", delay=0)
        page.locator(".kit-turn").nth(1).wait_for()
        assert page.locator("[data-kit-snapshot]:visible").count() == 0  # not beside the widget
        page.wait_for_function(
            """() => ['And now?', 'response.done'].every(words =>
              [...document.querySelectorAll('[data-kit-snapshot]')].some(shot => shot.textContent.includes(words)))"""
        )
        page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")

    saved = nbformat.read(root / "shown.ipynb", as_version=4)
    told = HTMLExporter().from_notebook_node(saved)[0]
    assert "6 of 6 trials after" in told and "response.content_part.added" in told and "nothing recorded" in told
    assert "data:audio/flac" in told and "And now?" in told
    with chromium() as page:
        open_notebook(page, lab, "shown.ipynb")  # a new kernel that knows of nothing
        page.locator("[data-kit-snapshot]", has_text="And now?").first.wait_for()
        broken = page.locator(".jupyter-widgets", has_text="model not found")
        broken.first.wait_for(state="attached")
        sizes = broken.evaluate_all("all => all.map(output => getComputedStyle(output).fontSize)")
        assert sizes and set(sizes) == {"0px"}  # ipywidgets' words, which lead nowhere; what to do stands there instead
