"""The notebooks in JupyterLab, in real Chromium, as a reader meets them."""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from browser import CHROMIUM, chromium, jupyter_lab, open_notebook, outside, run_all, theme

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SILENT = ("03", "04", "05", "06")  # many trials: nothing is played
SHOTS = os.environ.get("KIT_SCREENSHOTS")  # a folder to keep pictures in, to be looked at


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
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


@pytest.mark.parametrize("notebook", [path.name for path in NOTEBOOKS])
def test_a_notebook_runs_and_its_sound_plays_with_nothing_fetched_from_outside(lab, notebook):
    with chromium() as page:
        open_notebook(page, lab, notebook)

        assert run_all(page) == []
        if not notebook.startswith(SILENT):
            player = page.locator("audio").first
            player.scroll_into_view_if_needed()
            player.evaluate("player => { player.volume = 0.5; return player.play(); }")
            page.wait_for_function("() => document.querySelector('audio').currentTime > 0.2", timeout=30_000)

        shoot(page, notebook.removesuffix(".ipynb"))
        assert outside(page.requested) == []
        assert page.problems == []


def test_the_chat_box_answers_with_a_badge(lab):
    with chromium() as page:
        open_notebook(page, lab, "01-test-case-1.ipynb")
        assert run_all(page) == []

        box = page.locator("textarea[placeholder^='Say something']").first
        box.scroll_into_view_if_needed()
        before = page.locator(".kit-turn").count()
        box.press_sequentially("One more <b>please</b>.", delay=0)
        box.press("Enter")
        page.wait_for_function(
            "n => document.querySelectorAll('.kit-turn').length === n && document.querySelector('.kit-word').textContent === 'ready'",
            arg=before + 2,
            timeout=30_000,
        )

        turns = page.locator(".kit-turn")
        assert "One more <b>please</b>." in turns.nth(before).inner_text()  # what was typed, whatever the speed
        assert "text" in turns.nth(before + 1).inner_text()
        assert page.evaluate("() => document.activeElement.tagName") == "TEXTAREA"  # the next turn can be typed at once
