"""The evaluation server against the recordings of the real one, with a scripted engine in place of the wheel.

What the script does with a request, the wheel 0.9.5 did too: tests/component/evaluation_server asks it a part of the
same requests.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from mistralrs_evaluation.config import Configuration, ModelConfiguration
from mistralrs_evaluation.engine import Chunk, Usage
from mistralrs_evaluation.fields import RequestError
from mistralrs_evaluation.requests import Generate
from mistralrs_evaluation.server import application

from tests.component.contract.differences import WANTED, matches
from tests.component.contract.recorded import NETWORK, load
from tests.component.contract.replay import replay

MODEL = "tiny-q4_k_m"
MEASURED = {
    name: 1.0
    for name in (
        "avg_tok_per_sec", "avg_prompt_tok_per_sec", "avg_compl_tok_per_sec", "total_time_sec",
        "total_prompt_time_sec", "total_completion_time_sec",
    )
}  # fmt: skip
ALTERNATIVE = {"token": 504, "logprob": -0.5, "bytes": "The"}
TOKEN = {"token": "The", "logprob": -0.5, "bytes": [84, 104, 101], "top_logprobs": [ALTERNATIVE]}


class Script:
    """Says two words for each choice, and raises what the engine raises."""

    model_id = MODEL
    chats = True

    def status(self) -> str:
        return "loaded"

    def stream(self, request: Generate) -> Iterator[Chunk]:
        if sum(len(message["content"]) for message in request.messages) > 100_000:
            raise RequestError(
                422, "Prompt sequence length is greater than 8192, perhaps consider using `truncate_sequence`?"
            )
        if "no-such-type" in request.sampling.get("grammar", ""):
            raise RequestError(422, "Invalid grammar. Invalid type: no-such-type")
        logprobs = TOKEN if "logprobs" in request.sampling else None
        choices = request.sampling.get("n_choices", 1)
        for index in range(choices):
            yield Chunk("The", index=index, logprobs=logprobs)
        for index in range(choices):
            usage = Usage(43, 2, MEASURED) if index == choices - 1 else None
            yield Chunk(" end", finish_reason="stop", usage=usage, index=index, logprobs=logprobs)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    configuration = Configuration(models=(ModelConfiguration(MODEL, ("x.gguf",)),), default_model_id=MODEL)
    app = application(configuration, {MODEL: Script()}, lambda error: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = uvicorn.Config(app, http="h11", lifespan="off", log_config=None, server_header=False)
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_it_answers_as_the_recorded_engine(url: str) -> None:
    exchanges, wanted = load("mistralrs-0.9.2+7"), WANTED["evaluation"]
    verdicts = {verdict.name: verdict for verdict in replay(url, MODEL, exchanges, wanted, NETWORK)}
    assert set(verdicts) == set(exchanges) - NETWORK
    assert {name: (v.unwanted, v.stale) for name, v in verdicts.items() if v.word == "UNWANTED"} == {}
    lines = [(name, line) for name, verdict in verdicts.items() for line in verdict.lines]
    for entry in wanted:
        for pattern in entry.what:
            assert any(entry.concerns(name) and matches(pattern, line) for name, line in lines), pattern
