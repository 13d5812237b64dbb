"""The method is plain torch: it imports where there is no ComfyUI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from devtools.comfyui.inprocess import load_pack

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import importlib, pkgutil, sys

class NoHost:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"comfy", "comfy_api", "comfy_extras", "nodes", "folder_paths", "server", "toy"}:
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, NoHost())
sys.path.insert(0, sys.argv[1])
import shared_attention
names = [module.name for module in pkgutil.iter_modules(shared_attention.__path__, "shared_attention.")]
for name in names:
    if name != "shared_attention.host":
        importlib.import_module(name)
print(len(names))
"""


def test_imports_without_the_host():
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(ROOT)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 8


def test_the_host_is_imported_in_its_folder_only():
    method = ROOT / "shared_attention"
    users = {
        path for path in method.rglob("*.py") if "import comfy" in path.read_text() or "from comfy" in path.read_text()
    }
    assert users
    assert all(method / "host" in path.parents for path in users)


def test_the_pack_is_imported_once():
    """Its modules are attributes of the first package only."""
    before = sys.modules["style_aligned"]
    load_pack()
    assert sys.modules["style_aligned"] is before
