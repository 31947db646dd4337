"""A stand-in for the engine that only the gateway's tests use; standard library only, so that it runs on any host.

It tells what it was asked: a completion's text is the JSON of the path, headers and body that arrived. The prompt
steers it: `slow` streams twenty pieces in two seconds, `refuse`, `refuse-text` and `refuse-openai` are errors in three
shapes, `silent` never answers.
GET /last tells how the last stream ended.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAST = {"stream": "none"}


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Nothing: the prompt must be in no log."""

    def reply(self, status: int, body: object, content_type: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(200, "OK", "text/plain")
        elif self.path == "/last":
            self.reply(200, LAST)
        elif self.path == "/v1/models":
            models = [{"id": name, "object": "model"} for name in ("default", "tiny-q4_k_m", "other-q4_k_m")]
            self.reply(200, {"object": "list", "data": models})
        else:
            self.reply(404, {"message": f"no {self.path}"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body.get("prompt")
        if prompt is None:
            prompt = body["messages"][-1]["content"]
        if prompt == "refuse":
            self.reply(500, {"message": "The engine says no: ünïcode."})
        elif prompt == "refuse-text":
            self.reply(422, "plain words", "text/plain")
        elif prompt == "refuse-openai":
            self.reply(400, {"error": {"message": "wrong", "type": "special", "param": "prompt", "code": "own_code"}})
        elif prompt == "silent":
            time.sleep(3600)
        elif body.get("stream"):
            self.stream(prompt == "slow")
        else:
            asked = {"path": self.path, "headers": dict(self.headers), "body": body}
            self.reply(200, {"object": "text_completion", "choices": [{"index": 0, "text": json.dumps(asked)}]})

    def stream(self, slow: bool) -> None:
        LAST["stream"] = "running"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for number in range(20):
                event = {"object": "text_completion", "choices": [{"index": 0, "text": f"{number} "}]}
                self.chunk(f"data: {json.dumps(event)}\n\n")
                time.sleep(0.1 if slow else 0.001)
            self.chunk("data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
            LAST["stream"] = "complete"
        except OSError:
            LAST["stream"] = "client gone"

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
