"""Is everything said that a release has to say? Prints what is new in it, as the changelog has it.

python -m devtools.publishing.release 1.2.3 [--repository https://github.com/OWNER/NAME]
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from devtools import ROOT

_HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)


def project(root: Path = ROOT) -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def code_version(root: Path = ROOT) -> str:
    """The version that the pack's code knows, read without the rest of it, which needs torch."""
    spec = importlib.util.spec_from_file_location("version", root / "shared_attention" / "version.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.VERSION)


def changes(root: Path = ROOT) -> dict[str, str]:
    """What the changelog says of each version, newest first."""
    _, *parts = _HEADING.split((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    return {version: text.strip() for version, text in zip(parts[::2], parts[1::2], strict=True)}


def problems(version: str, repository: str | None = None, root: Path = ROOT) -> list[str]:
    """What is in the way of releasing `version` from `repository`, in words; empty if nothing is."""
    described, noted = project(root), changes(root)
    versions = {"pyproject.toml": described["project"]["version"], "shared_attention/version.py": code_version(root)}
    found = [f"{file} says version {said}, not {version}" for file, said in versions.items() if said != version]
    if not noted.get(version):
        found.append(f"CHANGELOG.md says nothing under a heading '## {version}'")
    elif next(iter(noted)) != version:
        found.append(f"CHANGELOG.md has {next(iter(noted))} above {version}")
    stated = described["project"].get("urls", {}).get("Repository")
    if repository and stated != repository:
        found.append(f'pyproject.toml needs [project.urls] with Repository = "{repository}"; it has {stated or "none"}')
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.publishing.release", description=__doc__)
    parser.add_argument("version", help="such as 1.2.3, or the tag v1.2.3")
    parser.add_argument("--repository", metavar="URL", help="where the release is made")
    chosen = parser.parse_args(arguments)
    version = chosen.version.removeprefix("v")
    if found := problems(version, chosen.repository):
        print("\n".join(f"error: {problem}" for problem in found), file=sys.stderr)
        return 1
    print(changes()[version])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
