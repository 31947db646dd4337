"""A fuzz target for the parsers of model headers: bytes give a header or a StackError, in little time and memory.

Usage: python -m tests.fuzz.headers gguf|safetensors CORPUS [libFuzzer's options]
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["ansible_collections.mistralrs"]):
    import tests.tools.checkout  # noqa: F401, I001
    from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
    from ansible_collections.mistralrs.stack.plugins.module_utils._formats import (
        gguf_header,
        gguf_model,
        gguf_summary,
        gguf_tokenizer,
        safetensors_header,
    )


def gguf(data: bytes) -> None:
    """All that is done with a GGUF's header."""
    try:
        header = gguf_header.parse_header(data, len(data), "m")
        gguf_model.merged([gguf_summary.summarize(header, data, "m")], "m")
        if gguf_tokenizer.is_affected(header):
            vocabulary = gguf_tokenizer.read_vocabulary(header, data, "m")
            gguf_tokenizer.count_tokens(vocabulary, gguf_tokenizer.PROMPT)
    except StackError:
        pass


def safetensors(data: bytes) -> None:
    """All that is done with a SafeTensors header: with the length that the bytes say, and with the right one."""
    text = data[8 : data.rfind(b"}") + 1]
    for content in (data, len(text).to_bytes(8, "little") + text + data[8 + len(text) :]):
        try:
            header = safetensors_header.read_header(len(content), lambda start, end, of=content: of[start:end], "m")
            safetensors_header.summarize([header], {}, has_template=False)
        except StackError:
            pass


def seeds(parser: str) -> list[bytes]:
    """Good headers to begin with."""
    if parser == "safetensors":
        text = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}'
        return [len(text).to_bytes(8, "little") + text + bytes(8)]
    from tests.fakes.gguf_writer import build, sentencepiece  # type: ignore[import-not-found]

    return [build(), sentencepiece(), build({"general.architecture": "llama", "x": ["a", "b"], "y": [1, 2]})]


def main() -> None:
    """Fuzz one parser."""
    parser, corpus = sys.argv[1], Path(sys.argv[2])
    for number, seed in enumerate(seeds(parser)):
        (corpus / f"seed{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], {"gguf": gguf, "safetensors": safetensors}[parser])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
