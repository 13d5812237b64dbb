"""Running installers: what a user sees of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from devtools.comfyui.logged_commands import Downloads, HostError, Steps, cause


def test_a_step_is_one_line_and_its_output_goes_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(tmp_path / "log", {"GREETING": "hello"})
    output = steps.run("Greeting", sys.executable, "-c", "import os; print(os.environ['GREETING'])")
    assert output == "hello\n"
    assert capsys.readouterr().out == "  Greeting: 0 s\n"
    assert "hello" in steps.log.read_text(encoding="utf-8")


def test_a_failing_step_is_one_line_that_names_the_log(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "log")
    code = "import sys; print('collecting'); sys.exit('OSError: [Errno 28] No space left on device')"
    with pytest.raises(HostError) as raised:
        steps.run("Packages", sys.executable, "-c", code)
    message = str(raised.value)
    assert message.startswith("Packages: the disk is full")
    assert str(steps.log) in message
    assert "\n" not in message
    assert "collecting" in steps.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("output", "meaning"),
    [
        ("[Errno -3] Temporary failure in name resolution", "index was not reached"),
        ("error: Failed to fetch: `https://index.example/simple/torch/`\n dns error", "index was not reached"),
        ("ProxyError('Cannot connect to proxy.')", "index was not reached"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "sha256 differs"),
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
        ("error: failed to write\n  Caused by: No space left on device (os error 28)", "disk is full"),
        ("ERROR: No matching distribution found for uv==0", "does not have what is needed"),
        ("one thing\nanother thing\n", "another thing"),
        ("", "it said nothing"),
    ],
)
def test_causes(output: str, meaning: str) -> None:
    assert meaning in cause(output)
    assert "\n" not in cause(output)


def test_download_progress() -> None:
    downloads = Downloads()
    assert downloads.hear("Resolved 115 packages in 1.15s") == ""
    assert downloads.hear("Downloading torch (1.5GiB)") == "0% of 1.6 GB downloaded"
    downloads.hear("Downloading scipy (512.0MiB)")
    assert downloads.hear(" Downloaded torch") == "75% of 2.1 GB downloaded"
    assert downloads.hear(" Downloaded something-unannounced") == ""
    assert downloads.hear("Prepared 51 packages in 16.09s") == "downloaded, installing"
