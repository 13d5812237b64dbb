"""What the registry's own client says of the pack, and what it would tell users."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from devtools.comfyui.logged_commands import HostError
from devtools.comfyui.server import PACK_NAME
from devtools.pictures.registry_pictures import FOLDER, PICTURES
from devtools.publishing.package import PackageError, comfy_cli, copy_tracked_files, pack, validate
from devtools.publishing.release import project

ROOT = Path(__file__).resolve().parents[2]


def edited(checkout: Path, old: str, new: str) -> Path:
    path = checkout / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    return checkout


def test_the_client_has_nothing_to_say_against_the_pack(checkout, registry_client):
    assert validate(checkout, registry_client).splitlines() == [
        "Validating node configuration...",
        "Running security checks...",
        "✓ All validation checks passed successfully",
    ]


def test_what_the_client_objects_to_is_heard(tmp_path, registry_client):
    checkout = edited(copy_tracked_files(tmp_path), 'requires-comfyui = ">=', 'requires-comfyui = "since ')
    (checkout / "shortcut.py").write_text("def run(text):\n    exec(text)\n", encoding="utf-8")
    said = validate(checkout, registry_client)
    assert "Invalid requires-comfyui format" in said
    assert "S102" in said
    edited(checkout, '\nversion = "', '\n# version = "')
    with pytest.raises(PackageError, match="version is empty"):
        validate(checkout, registry_client)


def test_a_file_that_would_be_lost_is_an_error(tmp_path, registry_client):
    checkout = copy_tracked_files(tmp_path)
    (checkout / "web" / "bild-für-bild.md").touch()
    subprocess.run(["git", "add", "--all"], cwd=checkout, check=True)
    with pytest.raises(PackageError, match="files would be missing"):
        pack(checkout, registry_client)


def test_the_client_stays_out_of_the_hosts_environment(registry_client):
    assert registry_client.parents[1] != Path(sys.prefix)
    assert registry_client.parents[1].is_relative_to(ROOT / ".host")


def test_without_the_package_index_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(HostError) as raised:
        comfy_cli(tmp_path)
    assert "package index" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_project_says_what_the_registry_asks_for():
    described = project()
    about = described["project"]
    assert about["name"] == PACK_NAME
    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", about["name"]), "the registry's rules for names"
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
    assert about["dependencies"] == []
    assert about["license"] == {"text": "Apache-2.0"}
    assert "Operating System :: OS Independent" in about["classifiers"]
    assert described["tool"]["comfy"]["DisplayName"] == "Style Aligned"
    assert described["tool"]["comfy"]["PublisherId"]


def test_the_host_reads_the_same_of_it(installed):
    from comfy_config.config_parser import extract_node_configuration

    read = extract_node_configuration(str(installed))
    assert read.project.name == PACK_NAME
    assert read.project.version == project()["project"]["version"]
    assert read.project.supported_os == ["OS Independent"]
    assert read.project.supported_comfyui_version == project()["tool"]["comfy"]["requires-comfyui"]


@pytest.mark.parametrize(("name", "shape"), [("registry-icon.png", (1, 1)), ("registry-banner.png", (21, 9))])
def test_the_registrys_pictures_are_those_that_are_drawn(name, shape):
    path = FOLDER / name
    assert path.stat().st_size < 300_000
    with Image.open(path) as picture:
        assert picture.width * shape[1] == picture.height * shape[0]
        assert picture.width <= (400 if shape == (1, 1) else 2100)
        assert picture.tobytes() == PICTURES[name]().tobytes()


def test_addresses_are_those_of_one_repository_or_left_out():
    """Before the repository has an address there is none to give; then all lead there."""
    described = project()
    urls = described["project"].get("urls", {})
    pictures = {key: described["tool"]["comfy"].get(key) for key in ("Icon", "Banner")}
    if "Repository" not in urls:
        assert not urls
        assert not any(pictures.values())
        return
    owner_and_name = urls["Repository"].removeprefix("https://github.com/")
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", owner_and_name)
    assert {"Documentation", "Bug Tracker"} <= urls.keys()
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
    for key, name in zip(pictures, PICTURES, strict=True):
        assert pictures[key].startswith(f"https://raw.githubusercontent.com/{owner_and_name}/")
        assert pictures[key].endswith(f"/docs/images/{name}")
