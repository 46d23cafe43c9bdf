"""The house keeps its shape: arrows point down, and each outside library has one home."""

import ast
import subprocess
import sys
from pathlib import Path

KIT = Path(__file__).parents[1] / "kit"

# A module may import only from ranks below its own; peers do not import each other, but for the groups named here.
RANKS = [
    ["version", "errors", "show"],
    ["files"],
    ["clip", "stats"],
    ["speech", "wire", "intake"],
    ["history", "endpoint", "eventlog", "standin"],
    ["cases", "link", "replay"],
    ["session"],
    ["connecting"],
    ["audio", "trials"],
    ["tables"],
    ["plots"],
    ["reporting", "widgets"],
    ["cli"],
]
HOMES = {
    "websockets": {"intake", "link", "connecting", "standin", "replay"},
    "sounddevice": {"audio"},
    "pandas": {"tables", "plots", "reporting", "cli"},  # outside tables: the type of a frame, for the checker alone
    "matplotlib": {"plots"},
    "anywidget": {"widgets"},
    "ipywidgets": {"widgets"},
    "soundfile": {"clip", "speech", "standin"},
    "soxr": {"clip", "speech", "standin", "audio"},
    "pybase64": {"wire", "history", "standin"},
    "rich": {"cli"},
    "prompt_toolkit": {"cli"},
    "tqdm": {"trials"},
    "distributed": {"trials"},
}
RANK = {name: n for n, names in enumerate(RANKS) for name in names}
NOT_LAYERED = {"__init__", "__main__", "repertoire"}  # the front door, `python -m kit`, and a script that renders data


def modules():
    for path in sorted(KIT.rglob("*.py")):
        parts = path.relative_to(KIT).with_suffix("").parts
        if parts[0] not in NOT_LAYERED:
            yield parts, ast.parse(path.read_text())


def imported(parts, tree):
    """(name of the kit module or outside package, is it ours)"""
    package = parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], False
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0], False
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            target = [*base, *(node.module or "").split(".")] if node.module else list(base)
            names = [target[0]] if target and target[0] else [alias.name for alias in node.names]
            yield from ((name, True) for name in names)


def test_every_module_has_a_rank():
    assert {parts[0] for parts, _ in modules()} <= RANK.keys()


def test_arrows_point_down():
    wrong = [
        f"{'.'.join(parts)} imports {name}"
        for parts, tree in modules()
        for name, ours in imported(parts, tree)
        if ours and name in RANK and name != parts[0]
        if RANK[name] >= RANK[parts[0]]
    ]
    assert not wrong


def test_each_outside_library_has_one_home():
    wrong = [
        f"{'.'.join(parts)} imports {name}"
        for parts, tree in modules()
        for name, ours in imported(parts, tree)
        if not ours and name in HOMES and parts[0] not in HOMES[name]
    ]
    assert not wrong


def test_the_stand_in_does_not_use_the_fold():
    used = {
        alias.name
        for parts, tree in modules()
        if parts[0] == "standin"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and "wire" in (node.module or "")
        for alias in node.names
        if (node.module or "") not in ("wire.dialect", "wire.refusals")
    }
    assert not used


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
