"""An environment for any ComfyUI folder: made of its requirements, once, and anew when they change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools.comfyui.any_comfyui import environment_for, is_served, pins, version_of
from devtools.comfyui.fetch import DEFAULT_RELEASE, RELEASES, python_in
from devtools.comfyui.logged_commands import HostError

FAKE_SETUP = Path(__file__).with_name("fake_setup.py")
STEPS = ["environment for the installer", "installer", "environment for Python", "ComfyUI's packages"]


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "mine" / "ComfyUI"
    folder.mkdir(parents=True)
    (folder / "comfyui_version.py").write_text('# made by a program\n__version__ = "0.99.1"\n', encoding="utf-8")
    (folder / "requirements.txt").write_text("comfyui-frontend-package==9.9\ntorch\n", encoding="utf-8")
    return folder


def set_up(host: Path, comfyui: Path, *options: str) -> int:
    host.mkdir(exist_ok=True)
    command = [sys.executable, FAKE_SETUP, host, f"--comfyui={comfyui}", *options]
    return subprocess.run(command, check=False).returncode


def steps_taken(host: Path) -> list[str]:
    lines = (host / "setup.log").read_text(encoding="utf-8").splitlines()
    return [next(step for step in reversed(STEPS) if line.startswith(step)) for line in lines]


def environments(host: Path) -> list[str]:
    return sorted(path.name for path in host.glob("env-*") if (path / "complete").exists())


def test_an_environment_is_made_once_and_the_folder_is_left_alone(tmp_path: Path, comfyui: Path) -> None:
    before = sorted(comfyui.rglob("*"))
    assert set_up(tmp_path / "host", comfyui) == 0
    assert set_up(tmp_path / "host", comfyui) == 0
    assert steps_taken(tmp_path / "host") == STEPS
    [name] = environments(tmp_path / "host")
    assert name.startswith("env-ComfyUI-")
    host = environment_for(comfyui, tmp_path / "host")
    assert (host.comfyui, host.python) == (comfyui, python_in(tmp_path / "host" / name))
    assert sorted(comfyui.rglob("*")) == before


def test_other_requirements_make_it_anew_in_the_same_place(tmp_path: Path, comfyui: Path) -> None:
    set_up(tmp_path / "host", comfyui)
    made = environments(tmp_path / "host")
    (comfyui / "requirements.txt").write_text("comfyui-frontend-package==9.10\ntorch\n", encoding="utf-8")
    set_up(tmp_path / "host", comfyui)
    assert steps_taken(tmp_path / "host") == [*STEPS, *STEPS[2:]]
    assert environments(tmp_path / "host") == made


def test_folders_of_one_name_have_environments_of_their_own(tmp_path: Path, comfyui: Path) -> None:
    other = comfyui.rename(tmp_path / "ComfyUI")
    set_up(tmp_path / "host", other)
    other.rename(comfyui)
    set_up(tmp_path / "host", comfyui)
    assert len(environments(tmp_path / "host")) == 2


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_set_up_killed_in_any_step_is_completed_by_the_next(tmp_path: Path, comfyui: Path, step: int) -> None:
    assert set_up(tmp_path / "host", comfyui, f"--die-in={step}") == 9
    assert environments(tmp_path / "host") == []
    assert set_up(tmp_path / "host", comfyui) == 0
    assert len(environments(tmp_path / "host")) == 1


def test_the_tests_tools_and_torch_are_those_of_the_newest_release(comfyui: Path) -> None:
    pinned = pins(comfyui / "requirements.txt")
    assert {"torch", "torchvision", "torchaudio", "pytest", "ruff", "playwright"} <= {
        line.split("==")[0] for line in pinned
    }
    lock = RELEASES[DEFAULT_RELEASE].requirements.read_text(encoding="utf-8").splitlines()
    assert set(pinned) <= set(lock)
    assert "einops" not in {line.split("==")[0] for line in pinned}


def test_torch_is_left_to_requirements_that_ask_for_one(comfyui: Path) -> None:
    (comfyui / "requirements.txt").write_text("einops\ntorch >= 2.7\n", encoding="utf-8")
    assert "torch" not in {line.split("==")[0] for line in pins(comfyui / "requirements.txt")}


@pytest.mark.parametrize(
    ("requirements", "served"),
    [
        ("pytest>=1  # any\n\n# nothing more\n--extra-index-url https://index.example/simple\n", True),
        ("pytest\nno-such-package; python_version < '3'\n", True),
        ("pytest<1\n", False),
        ("pytest\nno-such-package\n", False),
        ("git+https://host.example/package\n", False),
    ],
)
def test_whether_the_present_python_serves(tmp_path: Path, requirements: str, served: bool) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(requirements, encoding="utf-8")
    assert is_served(file) is served


def test_the_version(comfyui: Path) -> None:
    assert version_of(comfyui) == "0.99.1"
    (comfyui / "comfyui_version.py").unlink()
    with pytest.raises(HostError, match=r"does not say its version: it has no comfyui_version\.py"):
        version_of(comfyui)


def test_a_folder_without_requirements(tmp_path: Path, comfyui: Path) -> None:
    (comfyui / "requirements.txt").unlink()
    with pytest.raises(HostError, match=r"has no requirements\.txt"):
        environment_for(comfyui, tmp_path / "host")
