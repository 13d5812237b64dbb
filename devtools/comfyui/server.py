"""A real ComfyUI server with the pack linked in, in a folder of its own, stopped whatever happens."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from devtools import ROOT
from devtools.comfyui.client import Client, Progress, Prompt, PromptFailed, PromptRejected, Result, ServerError

__all__ = ["Client", "Progress", "Prompt", "PromptFailed", "PromptRejected", "Result", "Server", "ServerError"]

PACK_NAME = "style-aligned"
TOY_NAME = "style-aligned-toy"
TOY_CHECKPOINT = ROOT / "toy" / "icons.safetensors"
FLUX_CHECKPOINT = ROOT / "toy" / "flux.safetensors"

START_SECONDS = 300.0  # the first start after an installation compiles Python files and reads them from a cold disk
STOP_SECONDS = 10.0
TAIL_LINES = 30

_NEW_GROUP = 0x200 if os.name == "nt" else 0  # subprocess.CREATE_NEW_PROCESS_GROUP, which only Windows has
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@functools.cache
def accelerator_available() -> bool:
    """Whether this Python's torch has a device of its own; without one ComfyUI must be told --cpu."""
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()


def stop_on_signals() -> None:
    """Let every request to end this program end it as Ctrl-C does, so that a server it runs is stopped first."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # SIGINT may be ignored so far: in the background of a shell script
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(listen: str, port: int) -> None:
    """ServerError if another program has the port: its answers would pass for those of the server to be started."""
    with socket.socket() as probe:
        if os.name != "nt":  # there the option would let two programs have the same port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as error:
            raise ServerError(f"{listen} port {port} cannot be used: {error.strerror}; choose another") from error


def link_folder(target: Path, link: Path) -> None:
    """Make `link` lead to the folder `target`: a symbolic link, or on Windows, where that needs a right, a junction."""
    if sys.platform == "win32":
        import _winapi

        _winapi.CreateJunction(str(target), str(link))
    else:
        link.symlink_to(target, target_is_directory=True)


def link_file(target: Path, link: Path) -> None:
    """Make the file `link` the same as `target`, without a copy where the system allows it."""
    for place in (os.symlink, os.link, shutil.copyfile):
        try:
            place(target, link)
            return
        except OSError:
            continue
    raise ServerError(f"{target} could be neither linked nor copied to {link}")


class Server(Client):
    """Runs ComfyUI's main.py on a free loopback port while the context lasts.

    Everything the server writes goes to `base` (a temporary folder, removed at the end, unless one is given), so the
    ComfyUI at `comfyui` stays as it is; the models in `models` (its own by default) are there to choose all the same.
    With `pack` None there is only what `base` has in its custom_nodes already.
    """

    def __init__(
        self,
        comfyui: Path,
        base: Path | None = None,
        extra_args: Sequence[str] = (),
        with_toy: bool = True,
        models: Path | None = None,
        *,
        pack: Path | None = ROOT,
        listen: str = "127.0.0.1",
        port: int | None = None,
        cpu: bool | None = None,
    ) -> None:
        self.comfyui = comfyui.resolve()
        self.listen = listen
        self.port = port or free_port()
        address = "127.0.0.1" if listen == "0.0.0.0" else listen
        super().__init__(f"http://{address}:{self.port}", base or Path())
        self.extra_args = list(extra_args)
        self.with_toy = with_toy
        self.pack = pack
        self.models = models or self.comfyui / "models"
        self.cpu = cpu
        self._temporary = base is None
        self._links: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._last_log = ""

    @property
    def log_path(self) -> Path:
        return self.base / "server.log"

    def log_text(self) -> str:
        """All that the server has logged so far, without colours; still there after it was stopped."""
        if self.log_path.exists():
            self._last_log = _COLOUR.sub("", self.log_path.read_text(encoding="utf-8", errors="replace"))
        return self._last_log

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Server:
        check_port(self.listen, self.port)
        try:
            self._lay_out()
            self._start()
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> int:
        """Wait until the server ends by itself; its exit status."""
        if self._process is None:
            raise ServerError("the server was not started")
        return self._process.wait()

    def run(self, prompt: Prompt, progress: Progress | None = None, timeout: float = 600.0) -> Result:
        try:
            return super().run(prompt, progress, timeout)
        except ServerError as error:
            raise ServerError(f"{error}; {self._log_tail()}") from error

    def _lay_out(self) -> None:
        if self._temporary:
            self.base = Path(tempfile.mkdtemp(prefix="style-aligned-"))
        for folder in ("custom_nodes", "models/checkpoints", "input", "output", "temp", "user"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        if self.pack:
            self._link(self.pack, self.base / "custom_nodes" / PACK_NAME)
        if self.with_toy:
            self._link(ROOT / "toy", self.base / "custom_nodes" / TOY_NAME)
            for checkpoint in (TOY_CHECKPOINT, FLUX_CHECKPOINT):
                link_file(checkpoint, self._new(self.base / "models" / "checkpoints" / checkpoint.name))
        self._models_config.write_text(json.dumps(self._model_folders()), encoding="utf-8")

    def _link(self, target: Path, link: Path) -> None:
        link_folder(target, self._new(link))

    def _new(self, link: Path) -> Path:
        """`link`, free to be made, and remembered to be removed before the folder it is in."""
        _remove_link(link)
        self._links.append(link)
        return link

    @property
    def _models_config(self) -> Path:
        return self.base / "model_folders.yaml"

    def _model_folders(self) -> dict[str, dict[str, str]]:
        """ComfyUI's extra_model_paths.yaml (JSON is YAML too), naming every folder of `models`."""
        folders = sorted(path.name for path in self.models.iterdir() if path.is_dir()) if self.models.is_dir() else []
        return {"models": {"base_path": str(self.models), **{name: name for name in folders}}}

    def _command(self) -> list[str]:
        cpu = not accelerator_available() if self.cpu is None else self.cpu
        options = {
            "--base-directory": self.base,
            "--extra-model-paths-config": self._models_config,
            "--listen": self.listen,
            "--port": self.port,
            "--database-url": "sqlite:///:memory:",  # the default is a file inside ComfyUI
        }
        words = [str(word) for option in options.items() for word in option]
        flags = ["--disable-auto-launch", "--disable-api-nodes", *(["--cpu"] if cpu else [])]
        return [sys.executable, str(self.comfyui / "main.py"), *words, *flags, *self.extra_args]

    def _start(self) -> None:
        # A process group of its own: Ctrl-C reaches only us; stopping the group reaches all that the server started.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.base,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=_NEW_GROUP,
            )

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(f"ComfyUI ended at its start (status {self._process.returncode}); {self._log_tail()}")
            try:
                self.get("/system_stats", timeout=5.0)
                return
            except ServerError:
                time.sleep(0.1)
        raise ServerError(f"ComfyUI did not answer within {START_SECONDS:.0f} s; {self._log_tail()}")

    def _log_tail(self) -> str:
        return "its log ends:\n" + "\n".join(self.log_text().splitlines()[-TAIL_LINES:])

    def stop(self) -> None:
        """Stop the server and remove what was made for it; harmless to call twice."""
        try:
            if self._process is not None:
                _stop_group(self._process)
        finally:
            self.log_text()
            while self._links:
                _remove_link(self._links.pop())
            if self._temporary and self.base != Path():
                shutil.rmtree(self.base, ignore_errors=True)


def _remove_link(link: Path) -> None:
    """Remove a link (or linked copy of a file), never what a link leads to; a real folder is an error."""
    if link.is_symlink() or link.is_file():
        link.unlink()
    elif link.exists():
        os.rmdir(link)  # a junction; fails on a folder with something in it


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process and all it started to end, and end them by force if they have not after a while."""
    if sys.platform == "win32":
        if process.poll() is None:
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        process.wait()
        return
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)
    except ProcessLookupError:
        process.wait()
    except BaseException as error:  # it does not end, or Ctrl-C came again
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
