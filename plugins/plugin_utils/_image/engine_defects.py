# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known defects of mistral.rs, with the range of versions that have each.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

The ranges are read in the engine's source at its tags, or in the threads of its tracker that are named. What was seen
with running servers only begins at the oldest that was run (0.8.1; tests/recordings).
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import Number, text_of


class Defect(NamedTuple):
    """The first version with it, the first without it (none: still there), and what it is.

    Where C(warned) is set, the operator is told at each run: another version is the only way out.
    """

    first: Number
    fixed: Number | None
    sentence: str
    warned: bool = False

    def holds(self, number: Number) -> bool:
        """Whether a version has it."""
        return self.first <= number and (self.fixed is None or number < self.fixed)


# By the version that fixed it, oldest first; what is still there comes last.
DEFECTS: tuple[Defect, ...] = (
    Defect((0, 6, 0), (0, 7, 0), "The model that a request names is ignored; one model is served."),
    Defect((0, 6, 0), (0, 7, 0), "Built with the feature nccl, GGUF models run on the CPU."),
    Defect((0, 6, 0), (0, 7, 0), "A GGUF file without a chat template makes the engine panic at its start."),
    Defect(
        (0, 6, 0),
        (0, 7, 0),
        "Link-time optimization of the whole program is on: the link at the end of the build needs much more memory "
        "than that of later versions; this collection turns it off.",
    ),
    Defect((0, 7, 0), (0, 8, 0), "FlashAttention does not compile with CUDA 13 (upstream issue 1700)."),
    Defect((0, 6, 0), (0, 8, 0), "The build downloads Swagger UI from GitHub inside `cargo build`."),
    Defect(
        (0, 6, 0),
        (0, 8, 0),
        "Each file of a model in several UQFF files must be named; the engine doesn't find the others from the first.",
    ),
    Defect((0, 6, 0), (0, 8, 2), "HF_HUB_OFFLINE is ignored: the engine looks for a missing model on the network."),
    Defect((0, 6, 0), (0, 8, 4), "There is no /metrics."),
    Defect((0, 6, 0), (0, 8, 4), "tool_choice `required` is refused (422)."),
    Defect((0, 7, 0), (0, 8, 4), "Upstream's published images lack the program mistralrs (upstream issue 1948)."),
    Defect((0, 8, 10), (0, 8, 11), "The program calls itself 0.8.9."),
    Defect(
        (0, 6, 0),
        (0, 8, 11),
        "access_log_format and the other access log settings are ignored: the access log is never JSON.",
    ),
    Defect((0, 6, 0), (0, 8, 11), "Answers have no x-request-id."),
    Defect(
        (0, 6, 0),
        (0, 8, 18),
        "Requests can name files of the container as images (file:// and plain paths); the gateway refuses these.",
    ),
    Defect((0, 6, 0), (0, 8, 19), "response_format `json_object` is refused (422)."),
    Defect(
        (0, 6, 0),
        (0, 9, 0),
        "On a CPU, clients that ask at the same time get each other's answers, or garbage. GPUs are not affected.",
    ),
    Defect(
        (0, 7, 0),
        (0, 9, 0),
        "Built with the feature nccl, the engine runs in its mode for several GPUs even with one; MISTRALRS_NO_NCCL=1 "
        "turns that off.",
    ),
    Defect(
        (0, 8, 23),
        (0, 9, 0),
        "CUDA 13.3 is accepted, but the engine does not compile with it (CUTLASS, upstream issue 2292).",
    ),
    Defect((0, 6, 0), (0, 9, 1), "A tokenizer.json beside a GGUF file is ignored unless the engine is told about it."),
    Defect(
        (0, 6, 0),
        (0, 9, 2),
        "There are no metrics of the engine itself (time to first token, tokens, sequences, KV cache); from 0.8.4 on "
        "those of HTTP requests exist.",
    ),
    Defect(
        (0, 7, 0),
        (0, 9, 2),
        "A second model on one GPU does not start with a memory fraction: the first one's KV cache takes all of it.",
    ),
    Defect(
        (0, 9, 2),
        None,
        "The memory fraction is divided by the number of models before the weights are subtracted: two models on one "
        "GPU start only if each one's share holds its weights.",
    ),
    Defect(
        (0, 9, 0),
        (0, 9, 2, 7),
        "Many clients at once are served hardly faster than one after the other (upstream issue 2343: on an H100, 32 "
        "clients get 341 tokens per second together).",
        warned=True,
    ),
    Defect((0, 6, 0), (0, 9, 2, 7), "An error in the middle of a stream is plain text, not JSON."),
    Defect(
        (0, 6, 0),
        None,
        "GGUF models with a SentencePiece vocabulary (Mistral 7B, Llama 2, Mixtral, Gemma 1 to 3) are tokenized "
        "wrongly unless a tokenizer.json is given; this collection makes one.",
    ),
    Defect((0, 6, 0), None, "As process 1 of a container the engine ignores SIGTERM; start it under an init."),
    Defect(
        (0, 6, 0), None, "A request without max_tokens runs until the model or its context ends; the gateway sets it."
    ),
    Defect((0, 6, 0), None, "A field of a request turns on web search; the gateway removes it."),
    Defect((0, 6, 0), None, "GGUF files with IQ types (IQ4_XS and so on) can't be loaded."),
    Defect((0, 6, 0), None, "MXFP4 tensors are loaded for the architecture gpt-oss only."),
    Defect(
        (0, 6, 0),
        None,
        "A stop word that is a single token stops only at exactly that token, not at the same letters in another one.",
    ),
    Defect((0, 6, 0), None, "The stream of /v1/completions never reports usage."),
    Defect((0, 7, 0), None, "A request for an unknown model gets 500, not 404; the gateway answers in its place."),
    Defect(
        (0, 7, 0),
        None,
        "`doctor` reports hf_connectivity as an error wherever the Hub can't be reached, also with HF_HUB_OFFLINE.",
    ),
    Defect((0, 8, 0), None, "GPUs below compute capability 8.0 do not compile (upstream issue 2092)."),
    Defect(
        (0, 7, 0),
        None,
        "The build script accepts CUDA 11.4 to 11.7, but the kernels need 11.8 (12.0 for compute capability 9.0).",
    ),
    Defect(
        (0, 8, 1),
        None,
        "With a broken chat template the engine starts and completions work, but every chat request gets 500.",
    ),
    Defect((0, 8, 1), None, "logprobs: the fields token and bytes of top_logprobs are swapped."),
    Defect((0, 8, 1), None, "The ids of answers are small numbers that start over when a model is reloaded."),
    Defect(
        (0, 8, 1),
        None,
        "max_seq_len plans memory only: a longer prompt is refused at the model's own limit, not at this one.",
    ),
    Defect((0, 8, 2), None, "The web UI is served unless it is turned off; this collection turns it off."),
    Defect(
        (0, 8, 2),
        None,
        "Code execution for clients is compiled in by default; this collection builds without default features.",
    ),
    Defect(
        (0, 9, 1),
        None,
        "On a CPU with the automatic dtype, prompts that are read in one step fail with 'input tensor is not "
        "contiguous'; dtype bf16 or f16 is right.",
    ),
    Defect(
        (0, 9, 1),
        None,
        "GGUF files of the architecture llama that are named Mistral are refused unless they say their sliding window "
        "or a config.json lies beside them.",
    ),
    Defect((0, 9, 1), None, "LFM2 models are reported to mix up the answers of clients on GPUs, too (issue 2306)."),
    Defect(
        (0, 9, 2, 7),
        None,
        "Message content as a list of text parts gets 500 if the chat template adds strings (seen with SmolLM2's).",
    ),
)


def warnings_of(number: Number, version: str) -> tuple[str, ...]:
    """What the operator of a version is told at each run."""
    return tuple(
        f"mistral.rs {version} has a defect that only another version is without"
        f"{f' (fixed in {text_of(defect.fixed)})' if defect.fixed else ''}: {defect.sentence}"
        for defect in DEFECTS
        if defect.warned and defect.holds(number)
    )
