"""The house keeps its shape: imports point down, no circle, one home for each outside library, one door to the stand-in.

`RANKS` is README's picture of the architecture, from the ground up. Imports under TYPE_CHECKING and inside functions count.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

KIT = Path(__file__).parents[1] / "kit"

# A room (a file or folder of kit/) imports only from rows above its own in this list, and from itself.
RANKS = [
    ["version", "errors", "show"],
    ["files"],
    ["clip", "services", "stats"],
    ["speech", "wire", "chats"],
    ["history", "endpoint", "eventlog", "standin", "intake"],
    ["cases", "link", "replay"],
    ["base"],
    ["session", "live"],
    ["connecting"],
    ["audio", "probe", "relay", "trials"],
    ["tables"],
    ["plots"],
    ["reporting", "widgets"],
    ["cli"],
]
RANK = {name: n for n, names in enumerate(RANKS) for name in names}
NOT_LAYERED = {"__init__", "__main__", "repertoire"}  # the front door, `python -m kit`, and a script that renders data
# The stand-in is a server that could leave: it shares the words of the wire with the client, never its reading of it.
DOOR_OF_THE_STAND_IN = {"kit.errors", "kit.clip", "kit.speech", "kit.wire.dialect", "kit.wire.refusals"}
HOMES = {
    "websockets": {"intake", "link", "connecting", "standin", "replay", "relay"},
    "sounddevice": {"audio"},
    "pandas": {"tables", "plots", "reporting", "cli"},  # outside tables: the type of a frame, for the checker alone
    "matplotlib": {"plots"},
    "anywidget": {"widgets"},
    "ipywidgets": {"widgets"},
    "soundfile": {"clip", "standin"},
    "soxr": {"clip", "speech", "standin", "audio"},
    "pybase64": {"wire", "history", "standin", "live"},
    "jinja2": {"reporting"},
    "markupsafe": {"reporting"},
    "rich": {"cli"},
    "prompt_toolkit": {"cli"},
    "tqdm": {"trials"},
    "filelock": {"trials"},
    "trustme": {"standin"},
    "distributed": {"trials"},
}


def modules():
    """(dotted name, is it a package, tree) of every module of the kit."""
    for path in sorted(KIT.rglob("*.py")):
        parts = path.relative_to(KIT.parent).with_suffix("").parts
        package = parts[-1] == "__init__"
        yield ".".join(parts[:-1] if package else parts), package, ast.parse(path.read_text(encoding="utf-8"))


MODULES = list(modules())
NAMES = {name for name, _, _ in MODULES}


def room(name):
    return [*name.split("."), "__init__"][1]


def imports(name, package, tree):
    """The modules that a module imports: the kit's by their full name, others by their first word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name if alias.name in NAMES else alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".")
            base = parts[: len(parts) - node.level + package] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            if target not in NAMES:
                yield target.split(".")[0]
                continue
            inner = {f"{target}.{alias.name}" for alias in node.names} & NAMES
            yield from inner
            if len(inner) < len(node.names):
                yield target


def arrows():
    """(importer, imported) for every import, of the kit's modules and of others."""
    return [(name, other) for name, package, tree in MODULES for other in imports(name, package, tree)]


def test_every_module_has_a_rank():
    assert {room(name) for name in NAMES} - NOT_LAYERED <= RANK.keys()


def test_imports_point_down():
    wrong = {
        f"{name} imports {other}"
        for name, other in arrows()
        if other in NAMES and room(name) in RANK and room(other) in RANK and room(name) != room(other)
        if RANK[room(other)] >= RANK[room(name)]
    }
    assert not wrong


def test_the_readme_draws_the_same_rows():
    picture = (KIT.parent / "README.md").read_text(encoding="utf-8").split("## Architecture")[1].split("```")[1]
    rows = [re.split(r" {3,}", line)[0].split(" · ") for line in picture.strip().splitlines()]
    assert [set(row) for row in rows] == [set(row) for row in reversed(RANKS)]


def test_there_is_no_circle_anywhere():
    # A package's __init__ is its door: what it collects is imported from the outside only.
    below = {name: set() for name in NAMES}
    for name, other in arrows():
        if other in NAMES and not (other == "kit" or name == "kit"):
            below[name].add(other)
    pruned = True
    while pruned:  # take away what imports nothing that is left, or is imported by nothing that is left
        above = set().union(*below.values())
        ends = {name for name, others in below.items() if not others & below.keys() or name not in above}
        below, pruned = {name: others for name, others in below.items() if name not in ends}, bool(ends)
    assert not below, "these import each other"


def test_each_outside_library_has_one_home():
    wrong = {
        f"{name} imports {other}"
        for name, other in arrows()
        if other in HOMES and room(name) not in NOT_LAYERED and room(name) not in HOMES[other]
    }
    assert not wrong


def test_the_stand_in_has_its_own_door_and_does_not_use_the_fold():
    used = {
        other for name, other in arrows() if room(name) == "standin" and other in NAMES and room(other) != "standin"
    }
    assert used <= DOOR_OF_THE_STAND_IN


def test_others_enter_the_stand_in_by_its_door():
    wrong = {
        f"{name} imports {other}"
        for name, other in arrows()
        if other.startswith("kit.standin.") and room(name) != "standin"
    }
    assert not wrong


def test_importing_kit_imports_no_third_party_module_and_no_asyncio():
    code = (
        "import sys; before = set(sys.modules); import kit; after = set(sys.modules) - before; "
        "print([m for m in after if m.split('.')[0] not in sys.stdlib_module_names and m.split('.')[0] != 'kit' "
        "or m.split('.')[0] == 'asyncio'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_front_door_has_at_most_15_names_and_5_namespaces():
    import kit

    namespaces = [name for name, home in kit._HOMES.items() if name == home.rpartition(".")[2]]
    assert len(namespaces) <= 5
    assert len(kit.__all__) - len(namespaces) <= 15
    assert all(getattr(kit, name) is not None for name in kit.__all__)
