"""A client of ComfyUI's API: submit a prompt, follow it over the websocket, find the pictures it saved."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

Prompt = dict[str, Any]
Progress = Callable[[str, int, int], None]  # node id, steps done, steps in all

# The server is on this machine: a proxy from the environment must not come between.
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(Exception):
    """The server did not start, died, or did not answer."""


class PromptRejected(Exception):
    """The server found the prompt invalid and did not run it."""

    def __init__(self, message: str, node_errors: dict[str, Any]) -> None:
        super().__init__("\n".join([message, *_node_messages(node_errors)]))
        self.message = message
        self.node_errors = node_errors


class PromptFailed(Exception):
    """A node raised while the prompt ran."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.node_id: str = str(error["node_id"])
        self.node_type: str = error.get("node_type", "")
        self.exception_type: str = error.get("exception_type", "")
        self.exception_message: str = error.get("exception_message", "").strip()
        self.traceback: str = "".join(error.get("traceback", []))
        super().__init__(f"node {self.node_id} ({self.node_type}): {self.exception_message}")


def _node_messages(node_errors: dict[str, Any]) -> Iterator[str]:
    for node_id, found in node_errors.items():
        for error in found.get("errors", []):
            yield f"node {node_id} ({found.get('class_type', '?')}): {error['message']}: {error.get('details', '')}"


@dataclass(frozen=True)
class Result:
    """What a prompt left behind: the history's outputs, and the saved pictures by node id."""

    prompt_id: str
    outputs: dict[str, Any]
    images: dict[str, list[Path]]


class Client:
    """Talks to the server at `url`, whose files lie in the folders output/, temp/ and input/ of `base`."""

    def __init__(self, url: str, base: Path) -> None:
        self.url = url
        self.base = base

    @property
    def output(self) -> Path:
        return self.base / "output"

    def get(self, path: str, timeout: float = 60.0) -> Any:
        """The JSON answer to GET `path`."""
        return self._call(urllib.request.Request(self.url + path), timeout)

    def post(self, path: str, body: dict[str, Any], timeout: float = 60.0) -> Any:
        """The JSON answer to POST `path`, None where the answer is empty."""
        headers = {"Content-Type": "application/json"}
        return self._call(urllib.request.Request(self.url + path, json.dumps(body).encode(), headers), timeout)

    def object_info(self) -> dict[str, Any]:
        """Every registered node's schema, by node type."""
        return dict(self.get("/object_info"))

    def queue(self, prompt: Prompt, client_id: str = "") -> str:
        """Queue an API-format prompt and return its id; PromptRejected if the server finds it invalid."""
        try:
            return str(self.post("/prompt", {"prompt": prompt, "client_id": client_id})["prompt_id"])
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise ServerError(f"the server answered {error.code} to a prompt") from error
            answer = json.loads(error.read())
            message, details = answer["error"]["message"], answer["error"].get("details", "")
            raise PromptRejected(f"{message}: {details}" if details else message, answer["node_errors"]) from None

    def run(self, prompt: Prompt, progress: Progress | None = None, timeout: float = 600.0) -> Result:
        """Run a prompt to its end, telling `progress` every step of every node on the way."""
        try:
            prompt_id = asyncio.run(asyncio.wait_for(self._follow(prompt, progress), timeout))
        except asyncio.TimeoutError:
            self.post("/interrupt", {})
            raise ServerError(f"the prompt was not finished after {timeout:g} s") from None
        return self.result(prompt_id)

    def result(self, prompt_id: str) -> Result:
        """What a finished prompt left behind."""
        outputs = self.get(f"/history/{prompt_id}")[prompt_id]["outputs"]
        images = {
            node_id: [self._file(image) for image in outputs[node_id]["images"]]
            for node_id in sorted(outputs, key=lambda node_id: (len(node_id), node_id))  # not as they happened to run
            if "images" in outputs[node_id]
        }
        return Result(prompt_id, outputs, images)

    def _call(self, request: urllib.request.Request, timeout: float) -> Any:
        try:
            with _http.open(request, timeout=timeout) as answer:
                body = answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            raise ServerError(f"no answer from {request.full_url}: {error}") from error
        return json.loads(body) if body else None

    def _file(self, image: dict[str, str]) -> Path:
        return self.base / image["type"] / image["subfolder"] / image["filename"]

    async def _follow(self, prompt: Prompt, progress: Progress | None) -> str:
        client_id = uuid.uuid4().hex
        address = f"{self.url}/ws?clientId={client_id}"
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                prompt_id = await asyncio.to_thread(self.queue, prompt, client_id)
                await self._listen(socket, prompt_id, progress)
        except aiohttp.ClientError as error:
            raise ServerError(f"no connection to {self.url}: {error}") from error
        return prompt_id

    async def _listen(
        self, socket: aiohttp.ClientWebSocketResponse[Any], prompt_id: str, progress: Progress | None
    ) -> None:
        failure: dict[str, Any] | None = None
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue  # previews come as binary messages
            event = json.loads(message.data)
            data = event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if event["type"] == "progress" and progress:
                progress(str(data["node"]), data["value"], data["max"])
            elif event["type"] == "execution_error":
                failure = data
            elif event["type"] == "execution_interrupted":
                failure = {**data, "exception_type": "Interrupted", "exception_message": "interrupted"}
            elif event["type"] == "executing" and data["node"] is None:
                # Sent after the history is written, unlike execution_success, so the outputs are there to read.
                if failure:
                    raise PromptFailed(failure)
                return
        raise ServerError("the server closed the connection while the prompt was running")
