"""Starting and stopping a server, and what its client makes of bad answers; the server is an imitation."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from devtools import ROOT
from devtools.comfyui.client import Client, PromptFailed, PromptRejected, ServerError
from devtools.comfyui.server import PACK_NAME, TOY_NAME, Server, free_port

FAKE = Path(__file__).with_name("fake_comfyui.py")


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "models" / "checkpoints").mkdir(parents=True)
    shutil.copyfile(FAKE, folder / "main.py")
    return folder


def start(comfyui: Path, base: Path | None = None) -> Server:
    return Server(comfyui, base, cpu=True)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().split(") ")[1].startswith("Z")


def test_the_pack_is_linked_and_everything_goes_away(comfyui: Path) -> None:
    with start(comfyui) as server:
        base = server.base
        arguments = server.get("/system_stats")["argv"]
        assert "--cpu" in arguments
        assert str(base) in arguments
        assert (base / "custom_nodes" / PACK_NAME).resolve() == ROOT
        assert (base / "custom_nodes" / TOY_NAME).resolve() == ROOT / "toy"
        for name in ("icons.safetensors", "flux.safetensors"):
            assert (base / "models" / "checkpoints" / name).is_file()
        models = json.loads(Path(arguments[arguments.index("--extra-model-paths-config") + 1]).read_text())
        assert models == {"models": {"base_path": str(comfyui / "models"), "checkpoints": "checkpoints"}}
        assert server.alive()
    assert not server.alive()
    assert not base.exists()
    assert server.log_text().startswith("hello from the server")
    assert (ROOT / "toy" / "__init__.py").is_file()


def test_another_pack_or_none(comfyui: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Server(comfyui, pack=other, cpu=True) as server:
        assert (server.base / "custom_nodes" / PACK_NAME).resolve() == other
    with Server(comfyui, pack=None, with_toy=False, cpu=True) as server:
        assert not list((server.base / "custom_nodes").iterdir())


def test_everything_goes_away_after_an_error(comfyui: Path) -> None:
    server = start(comfyui)
    with pytest.raises(KeyboardInterrupt), server:
        raise KeyboardInterrupt
    assert not server.alive()
    assert not server.base.exists()


def test_a_given_folder_is_kept_and_used_again(comfyui: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    for _ in range(2):
        with start(comfyui, base) as server:
            (server.output / "picture.png").touch()
        assert (base / "output" / "picture.png").exists()
        assert not list((base / "custom_nodes").iterdir())


def test_a_server_that_dies_shows_the_end_of_its_log(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "dies")
    server = start(comfyui)
    with pytest.raises(ServerError, match=r"ended at its start \(status 1\)[\s\S]*No module named 'torchsde'"), server:
        pass
    assert not server.base.exists()


@pytest.mark.skipif(os.name == "nt", reason="looks at processes as POSIX shows them")
def test_what_the_server_started_is_stopped_with_it(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "has a child")
    with start(comfyui) as server:
        child = int(server.log_text().split("child ")[1].split()[0])
        assert not gone(child)
    deadline = time.monotonic() + 10
    while not gone(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone(child)


def test_a_port_in_use_is_said_before_anything_is_made(comfyui: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = Server(comfyui, tmp_path / "base", cpu=True, port=port)
        with pytest.raises(ServerError, match=rf"port {port} cannot be used"), server:
            pass
    assert not (tmp_path / "base").exists()


def test_a_rejected_prompt_names_the_nodes(comfyui: Path) -> None:
    with start(comfyui) as server, pytest.raises(PromptRejected) as raised:
        server.queue({})
    assert raised.value.message == "Prompt outputs failed validation"
    assert list(raised.value.node_errors) == ["7"]
    assert "node 7 (KSampler): Value too small: steps" in str(raised.value)


def test_a_broken_server_and_one_without_websocket(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "broken")
    with start(comfyui) as server:
        with pytest.raises(ServerError, match="answered 500 to a prompt"):
            server.queue({})
        with pytest.raises(ServerError, match=r"no connection to[\s\S]*its log ends:\nhello"):
            server.run({})


def test_no_server_at_all(tmp_path: Path) -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", tmp_path)
    with pytest.raises(ServerError, match="no answer from"):
        client.object_info()
    with pytest.raises(ServerError, match="no connection to"):
        client.run({})


def test_a_failed_prompt_says_where_and_why() -> None:
    failed = PromptFailed(
        {
            "node_id": "4",
            "node_type": "KSampler",
            "exception_type": "ValueError",
            "exception_message": "the batch is empty\n",
            "traceback": ["line 1\n", "line 2\n"],
        }
    )
    assert str(failed) == "node 4 (KSampler): the batch is empty"
    assert failed.traceback == "line 1\nline 2\n"
