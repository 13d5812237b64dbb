"""ComfyUI in the browser with the pack and the icon model in it, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from devtools import ROOT
from devtools.comfyui.server import Server, ServerError, stop_on_signals
from devtools.commands import serve_options

FOLDER = ROOT / "output" / "serve"  # kept: what a user draws and saves here should be there next time


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py serve")
    serve_options(parser)
    chosen = parser.parse_args(arguments)
    stop_on_signals()
    server = Server(Path(os.environ["COMFYUI_PATH"]), FOLDER, listen=chosen.listen, port=chosen.port)
    print("Starting ComfyUI ...", flush=True)
    try:
        with server:
            print(f"Open {server.url} (Ctrl-C stops; files and the log are in {FOLDER})", flush=True)
            status = server.wait()
            print(f"error: ComfyUI ended by itself (status {status}); see {server.log_path}", file=sys.stderr)
            return 1
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
