"""A stand-in for the engine that only the gateway's tests use; standard library only, so that it runs on any host.

What it says comes from the recordings of mistralrs-0.9.2+7 (tests/recordings/mistralrs-0.9.2+7/http/NAME.json):
health, root, head_root; models (ids replaced); not_found, method_wrong, options_cors; chat_form and chat_body_51mb (for
wrong headers of a request); chat_empty_body, chat_not_utf8, chat_deep_json, chat_gzip, chat_bad_json (with its
JSON); chat_max_tokens_text, chat_max_tokens_negative, chat_max_tokens_0, chat_n0, completions_list (with its fields);
chat_unknown_model, completions_unknown_model; chat, completions, chat_stream, completions_stream (answers: the text is
replaced). Where it still differs from that server, tests/component/contract/differences.py says why.

Its own are only these: an answer's text is the JSON of the path, headers and body that arrived. The last message or the
prompt steers it: `slow` streams twenty pieces in two seconds, `refuse` and `refuse-text` are the engine's two kinds of
errors, `refuse-openai` is an error of another server, `silent` never answers, `recorded:mistralrs-0.8.1/NAME` gets the
recorded answer of that name as it stands. `work NAME` takes half a second, `work-long NAME` three seconds and
`work-too-long NAME` seven, and like those of mistral.rs 0.8.1 these answers are computed to the end when their client
has gone. GET /last tells how the last stream ended, GET /load the names in their order and how many answers were
computed at the same time at most, since the last GET /load.
"""

from __future__ import annotations

import argparse
import itertools
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = "mistralrs-0.9.2+7"
RECORDED_MODEL = "smollm2-q4_1"
MOST_BYTES = 50 * 1024 * 1024
PIECES = 20
LAST = {"stream": "none"}
NUMBERS = itertools.count(1)
COMPLETIONS = ("/v1/chat/completions", "/v1/completions")
PATHS = {"/": "GET", "/health": "GET", "/v1/models": "GET", **dict.fromkeys(COMPLETIONS, "POST")}


class Load:
    """Counts the answers that are computed at the same time: to the last piece, but without the end of the response."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.names: list[str] = []

    def __enter__(self) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)

    def __exit__(self, *_exception: object) -> None:
        with self.lock:
            self.running -= 1

    def report(self) -> dict[str, object]:
        with self.lock:
            found = {"running": self.running, "most": self.most, "names": self.names}
            self.most, self.names = self.running, []
            return found


LOAD = Load()


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    recordings = Path()
    models: tuple[str, ...] = ()

    def log_message(self, *_arguments: object) -> None:
        """Nothing: the prompt must be in no log."""

    def recording(self, name: str) -> dict[str, Any]:
        """A recorded response: status, headers, body or events."""
        version, _, name = name.rpartition("/")
        file = self.recordings / (version or VERSION) / "http" / f"{name}.json"
        response: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["response"]
        return response

    def begin(self, response: dict[str, Any], length: int | None, **changed: str) -> None:
        """Sends status and headers as recorded, with an id, a time and a length of their own."""
        self.send_response_only(response["status"])
        for name, value in response["headers"]:
            if name == "x-request-id":
                value = f"req_{uuid.uuid4().hex}"
            if name not in ("date", "content-length", "transfer-encoding", "connection"):
                self.send_header(name, changed.get(name, value))
        self.send_header("date", self.date_time_string())
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def reply(self, name: str, body: str | None = None, **changed: str) -> None:
        """Sends a recorded response, with another body if one is given."""
        response = self.recording(name)
        if "events" in response:
            self.begin(response, None)
            for _seconds, text in response["events"]:
                self.chunk(text)
            self.wfile.write(b"0\r\n\r\n")
            return
        data = (response["body"] if body is None else body).encode()
        self.begin(response, len(data), **changed)
        if self.command != "HEAD":
            self.wfile.write(data)

    def route(self) -> bool:
        """Answers all that is not a request to a completion."""
        method = PATHS.get(self.path)
        if self.path == "/last":
            self.reply("health", json.dumps(LAST))
        elif self.path == "/load":
            self.reply("health", json.dumps(LOAD.report()))
        elif method is None:
            self.reply("not_found")
        elif self.command == "OPTIONS":
            self.reply("options_cors", allow=method if method == "POST" else "GET,HEAD")
        elif self.command != method and (self.command, method) != ("HEAD", "GET"):
            self.reply("method_wrong", allow=method if method == "POST" else "GET,HEAD")
        elif self.path == "/v1/models":
            self.reply("models", self.model_list())
        elif method == "GET":
            self.reply("health")
        else:
            return False
        return True

    def model_list(self) -> str:
        document = json.loads(self.recording("models")["body"])
        default, entry = document["data"]
        document["data"] = [default, *({**entry, "id": name, "root": name} for name in self.models)]
        return json.dumps(document)

    def do_GET(self) -> None:
        self.route()

    do_HEAD = do_OPTIONS = do_PUT = do_DELETE = do_PATCH = do_GET

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        raw = self.rfile.read(min(length, MOST_BYTES + 1))
        if self.route():
            return
        if length > MOST_BYTES:
            self.close_connection = True
            self.reply("chat_body_51mb")
        elif not self.headers.get("Content-Type", "").startswith("application/json"):
            self.reply("chat_form")
        else:
            self.complete(raw)

    def complete(self, raw: bytes) -> None:
        try:
            body = json.loads(raw.decode())
        except (ValueError, RecursionError) as error:
            self.reply(self.broken_json(raw, error))
            return
        wrong = self.wrong(body)
        if wrong:
            self.reply(wrong)
        elif body.get("model", "default") not in ("default", *self.models):
            name = "chat_unknown_model" if self.path == COMPLETIONS[0] else "completions_unknown_model"
            text: str = self.recording(name)["body"]
            text = text.replace("no-such-model", json.dumps(body["model"])[1:-1])
            self.reply(name, text.replace(RECORDED_MODEL, ", ".join(self.models)))
        else:
            self.answer(body)

    @staticmethod
    def broken_json(raw: bytes, error: Exception) -> str:
        if isinstance(error, RecursionError):
            return "chat_deep_json"
        if isinstance(error, UnicodeDecodeError) and not raw.startswith(b"\x1f\x8b"):
            return "chat_not_utf8"
        if not raw:
            return "chat_empty_body"
        return "chat_bad_json" if raw.startswith(b"{") else "chat_gzip"

    @staticmethod
    def wrong(body: dict[str, Any]) -> str:
        """The recording of what the engine says to a field's value; empty if it takes the request."""
        most = body.get("max_tokens")
        if isinstance(most, str):
            return "chat_max_tokens_text"
        if most is not None and most < 1:
            return "chat_max_tokens_0" if most == 0 else "chat_max_tokens_negative"
        if body.get("n") == 0:
            return "chat_n0"
        if "messages" not in body and not isinstance(body.get("prompt"), str):
            return "completions_list"
        return ""

    def answer(self, body: dict[str, Any]) -> None:
        prompt = body.get("prompt")
        if prompt is None:
            messages = body["messages"]
            prompt = messages if isinstance(messages, str) or not messages else messages[-1]["content"]
        if isinstance(prompt, str) and prompt.startswith("work"):
            with LOAD:
                LOAD.names.append(prompt.split()[1])
                time.sleep({"work-long": 3, "work-too-long": 7}.get(prompt.split()[0], 0.5))
        if prompt == "refuse":
            self.reply("chat_unknown_model", json.dumps({"message": "The engine says no: ünïcode."}))
        elif prompt == "refuse-text":
            self.reply("chat_max_tokens_text", "plain words")
        elif prompt == "refuse-openai":
            error = {"message": "wrong", "type": "special", "param": "prompt", "code": "own_code"}
            self.reply("chat_n0", json.dumps({"error": error}))
        elif prompt == "silent":
            time.sleep(3600)
        elif isinstance(prompt, str) and prompt.startswith("recorded:"):
            self.reply(prompt.removeprefix("recorded:"))
        elif body.get("stream"):
            self.stream(body, prompt == "slow")
        else:
            asked = {"path": self.path, "headers": dict(self.headers), "body": body}
            name = "chat" if self.path == COMPLETIONS[0] else "completions"
            self.reply(name, self.document(self.recording(name)["body"], body, json.dumps(asked)))

    def document(self, recorded: str, body: dict[str, Any], text: str, number: int | None = None) -> str:
        """A recorded answer, or one of its chunks, to this request and with this text."""
        document = json.loads(recorded)
        asked = body.get("model", "default")
        document["id"] = str(next(NUMBERS) if number is None else number)
        document["created"] = int(time.time())
        document["model"] = self.models[0] if asked == "default" else asked
        choice = document["choices"][0]
        place = choice.get("message") or choice.get("delta")
        if place is None:
            choice["text"] = text
        else:
            place["content"] = text
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)

    def stream(self, body: dict[str, Any], slow: bool) -> None:
        LAST["stream"] = "running"
        response = self.recording("chat_stream" if self.path == COMPLETIONS[0] else "completions_stream")
        events = [text.removeprefix("data: ").rstrip("\n") for _seconds, text in response["events"]]
        piece, last, done = events[0], events[-2], events[-1]
        number = next(NUMBERS)
        self.begin(response, None)
        try:
            with LOAD:
                for index in range(PIECES):
                    recorded = last if index == PIECES - 1 else piece
                    self.chunk(f"data: {self.document(recorded, body, f'{index} ', number)}\n\n")
                    time.sleep(0.1 if slow else 0.001)
            self.chunk(f"data: {done}\n\n")
            self.wfile.write(b"0\r\n\r\n")
            LAST["stream"] = "complete"
        except OSError:
            LAST["stream"] = "client gone"

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def server(port: int, recordings: Path, models: tuple[str, ...]) -> ThreadingHTTPServer:
    """The stand-in, not yet serving; port 0 takes a free one."""
    handler = type("ThisEngine", (Engine,), {"recordings": recordings, "models": models})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("recordings", type=Path, help="the folder tests/recordings")
    parser.add_argument("models", nargs="+", help="the ids of the models, the default first")
    options = parser.parse_args()
    server(options.port, options.recordings, tuple(options.models)).serve_forever()
