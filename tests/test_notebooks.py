"""Every notebook runs top to bottom without a browser, and says what it should."""

import shutil
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from kit.clip import clips_dir

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# jupyter_client still asks for the loop in a way that Python deprecates; the kernel's TCP note is for shared machines
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning:zmq")


def run(path, **parameters):
    """The executed notebook, with `parameters` set in a cell after the tagged one."""
    notebook = nbformat.read(path, as_version=4)
    at = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    lines = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(lines))
    with tempfile.TemporaryDirectory() as folder:  # what it writes (runs/) is made anew, and is not left behind
        for file in path.parent.glob("*.json"):
            shutil.copy(file, folder)
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute()
    return notebook


def prose(notebook):
    """All the Markdown and plain text that its cells put out."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    data = [out.get("data", {}) for out in outputs]
    return "\n".join(str(d.get("text/markdown") or d.get("text/plain") or "") for d in data).replace("\u00a0", " ")


@by_name
def test_it_runs_top_to_bottom(path):
    run(path)


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize(("stem", "case"), [("01-test-case-1", "1"), ("02-test-case-2", "2")])
def test_the_case_notebooks_find_what_was_reported(stem, case, dialect):
    path = next(path for path in NOTEBOOKS if path.stem == stem)

    said = prose(run(path, DIALECT=dialect))

    assert f"Case {case}a: **audio** (reported: audio)" in said
    assert f"Case {case}b: **text** (reported: text), and 3 of 3 replies in that session were text" in said
    assert "simulated" in said


@pytest.mark.parametrize("clip", ["tell-me-a-joke", "tell-me-a-joke.wav", str(clips_dir() / "tell-me-a-joke.wav")])
def test_the_clip_of_notebook_07_is_a_name_or_a_path(clip):
    path = next(path for path in NOTEBOOKS if path.stem.startswith("07"))

    assert "The first turn is **synthesised speech**: 1.4 s" in prose(run(path, CLIP=clip))


@by_name
def test_it_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)

    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@by_name
def test_its_code_fits_on_a_laptop_and_builds_no_prose(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]

    assert max(len(line) for source in cells for line in source.split("\n")) <= 88
    assert not any("Markdown(" in source for source in cells)  # conclusions are methods, with a test


@by_name
def test_its_strip_leads_to_every_notebook(path):
    strip = nbformat.read(path, as_version=4).cells[0].source.split("\n")[0]

    assert all(f"({other.name})" in strip for other in NOTEBOOKS if other != path)
    assert "(../README.md)" in strip


@by_name
def test_its_first_code_cell_is_the_parameters(path):
    first = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")

    assert first.metadata.get("tags") == ["parameters"]
    assert 'ENDPOINT = "standin"' in first.source


def test_running_the_connect_cell_again_closes_the_session_that_it_replaces():
    cells = [
        "from kit import connect, sessions\nsession = await connect('standin')\nsession",
        "first = id(session)\nsession = await connect('standin')\nsession",
        "import asyncio\nwhile len(sessions()) > 1: await asyncio.sleep(0)\nprint(sessions() == [session], id(session) != first)",
        "kept = [await connect('standin', quiet=True) for _ in range(2)]",
        "print(len(sessions()))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])

    NotebookClient(notebook, timeout=60).execute()

    printed = [out["text"] for cell in notebook.cells for out in cell.outputs if out.output_type == "stream"]
    assert any("closed the session that was replaced" in text for text in printed)
    assert "True True\n" in printed
    assert printed[-1] == "3\n"


def errors(*cells, interrupt_last=False):
    """What a reader sees of the last cell's error: its lines."""
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        for n, source in enumerate(cells):
            lines = []
            request = client.execute(source)
            started = time.monotonic()
            while True:
                message = client.get_iopub_msg(timeout=60)
                if message["parent_header"].get("msg_id") != request:
                    continue
                content = message["content"]
                if message["msg_type"] == "error":
                    lines = content["traceback"]
                if interrupt_last and n == len(cells) - 1 and message["msg_type"] == "stream":
                    manager.interrupt_kernel()
                if content.get("execution_state") == "idle":
                    break
                assert time.monotonic() - started < 60
        return lines
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_an_error_of_the_kit_is_one_sentence_and_the_traceback_is_there_on_request():
    sentence = errors("from kit import Clip\nClip.named('nosuch')")
    whole = errors("%xmode Verbose", "from kit import Clip\nClip.named('nosuch')")

    assert len(sentence) == 1 and "nosuch" in sentence[0] and "\n" not in sentence[0]
    assert len(whole) > 3


def test_an_interrupt_is_one_sentence_that_says_how_to_go_on():
    lines = errors(
        "from kit import connect\nsession = await connect(quiet=True, pace=1.0)",
        "print('asking', flush=True)\nawait session.ask('Tell me a joke.')",
        interrupt_last=True,
    )
    other = errors(
        "from kit import connect\nimport asyncio\nsession = await connect(quiet=True)",
        "print('waiting', flush=True)\nawait asyncio.sleep(60)",
        interrupt_last=True,
    )

    later = errors("from kit import connect\nsession = await connect(quiet=True)", "await ledger.trial(0)")

    assert len(lines) == 1 and "run this cell again" in lines[0]
    assert len(later) == 1 and "'ledger' is not defined: run the cells above first" in later[0]
    assert "run this cell again" not in "".join(other)


def outputs(*cells):
    """What the last cell puts out, message by message."""
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        for source in cells:
            messages = []
            client.execute_interactive(source, timeout=60, output_hook=messages.append)
        return messages
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_reply_is_drawn_while_it_arrives_and_once_when_it_is_there():
    connecting = "from kit import connect\nsession = await connect(pace=1.0)"
    messages = outputs(connecting, "await session.ask('Tell me a joke.')")
    drawn = [m for m in messages if m["msg_type"] in ("display_data", "update_display_data")]
    pages = [m["content"]["data"].get("text/html") for m in drawn]

    assert len(pages) > 3 and "so far" in pages[1]
    assert pages[-1] == ""  # the cell's value takes its place
    assert sum(m["msg_type"] == "execute_result" for m in messages) == 1

    quick = outputs(connecting.replace("1.0", "None"), "await session.ask('Tell me a joke.')")
    assert not [m for m in quick if m["msg_type"] == "display_data"]
