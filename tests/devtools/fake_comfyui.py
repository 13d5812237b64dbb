"""Imitates ComfyUI's main.py: answers on --port as told by the variable FAKE, with nothing heavy to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

BEHAVIOUR = os.environ.get("FAKE", "")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, {"argv": sys.argv})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if BEHAVIOUR == "broken":
            self._answer(500, {})
        else:
            errors = {"7": {"class_type": "KSampler", "errors": [{"message": "Value too small", "details": "steps"}]}}
            error = {"message": "Prompt outputs failed validation", "details": ""}
            self._answer(400, {"error": error, "node_errors": errors})

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


print("\x1b[32mhello\x1b[0m from the server", flush=True)
if BEHAVIOUR == "dies":
    sys.exit("ModuleNotFoundError: No module named 'torchsde'")
if BEHAVIOUR == "has a child":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(f"child {child.pid}", flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
