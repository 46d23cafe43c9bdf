"""JupyterLab in real Chromium: what a reader sees, and what the page asks for."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

SHOTS = os.environ.get("KIT_SCREENSHOTS")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
INSECURE_HOST = "kit.test"  # this machine under a name that browsers trust with no microphone
READY = """() => {
  const c = window.jupyterapp?.shell?.currentWidget?.sessionContext;
  return c?.isReady && c.session?.kernel?.status === 'idle' && c.session.kernel.connectionStatus === 'connected';
}"""
# Every code cell has an execution count and none is running.
ALL_RAN = """() => {
  const cells = window.jupyterapp?.shell?.currentWidget?.content?.model?.cells;
  if (!cells) return false;
  const code = Array.from({length: cells.length}, (_, i) => cells.get(i)).filter(c => c.type === 'code' && c.sharedModel.source.trim());
  return code.every(c => c.executionCount > 0 && c.executionState !== 'running');
}"""
ERRORS = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
  const errors = [];
  for (let i = 0; i < cells.length; i++)
    for (const out of (cells.get(i).sharedModel.outputs || []))
      if (out.output_type === 'error') errors.push(out.ename + ': ' + out.evalue);
  return errors;
}"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def jupyter_lab(root, home):
    """A JupyterLab over `root`, with nothing of the user's own; yields (url, token)."""
    port, token = free_port(), "test-token"
    folders = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")} | folders | {"HOME": str(home)}
    settings = home / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    # or a question about news covers a corner of every picture
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    env["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--expose-app-in-browser",
        "--allow-root",
        "--ip=127.0.0.1",
    ]
    command += [
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--LabApp.news_url=",
    ]
    command += ["--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={root}"]
    command += [f"--ServerApp.local_hostnames={INSECURE_HOST}", "--ServerApp.local_hostnames=localhost"]
    with open(home / "lab.log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=env) as lab:
        try:
            wait_until_listening(port, lab, home / "lab.log")
            yield f"http://127.0.0.1:{port}", token
        finally:
            lab.terminate()


def wait_until_listening(port, process, log, limit_s=90):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)  # another process's start-up can only be asked for
    raise AssertionError(f"JupyterLab did not come up: {log.read_text()[-2000:]}")


@contextmanager
def chromium(*args, dark=False, width=1280, height=900):
    """A page that notes what it asks for in `page.requested` and what it logs as an error in `page.problems`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGS, *args])
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.requested, page.problems = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        try:
            yield page
        finally:
            browser.close()


def open_notebook(page, lab, name):
    url, token = lab
    page.goto(f"{url}/lab/tree/{name}?token={token}&reset")
    page.wait_for_function(READY, timeout=120_000)


def run_all(page):
    """Run every cell and wait until all have; returns the errors among their outputs."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(ALL_RAN, timeout=120_000)
    return page.evaluate(ERRORS)


def theme(page, name):
    page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })", name)
    page.wait_for_function("dark => document.body.dataset.jpThemeLight === String(!dark)", arg="Dark" in name)


def shoot(page, name, selector=".kit-sound"):
    """Save pictures in both themes, for people to look at, where KIT_SCREENSHOTS names a folder."""
    if SHOTS:
        for word in ("JupyterLab Dark", "JupyterLab Light"):
            theme(page, word)
            page.locator("#jupyterlab-splash").wait_for(state="detached")
            page.locator(selector).first.screenshot(path=f"{SHOTS}/{name}-{word.split()[-1].lower()}.png")


def outside(requested):
    """Requests that left this machine."""
    return [url for url in requested if not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))]
