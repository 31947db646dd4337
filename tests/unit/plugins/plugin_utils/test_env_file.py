"""The seed's .env is read; whatever isn't understood is named with its line."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._env_file import VARIABLES, parse
from hypothesis import given
from hypothesis import strategies as st

SEED = """\
# Model Configuration
MISTRAL_MODELS_PATH=./data/mistral-models  # Where models are stored
MISTRAL_MODEL_PATH=/models                  # Internal container path
DEFAULT_MODEL=mistral-7b-instruct          # Default model to use

MISTRAL_MEMORY_LIMIT=64G                   # Maximum memory allocation
MISTRAL_MEMORY_RESERVATION=32G             # Reserved memory
CUDA_VERSION=12.2.0                        # CUDA version to build with
MISTRAL_RS_VERSION=v0.6.0                  # mistral.rs version to build
RUST_LOG=info                              # Logging level
MISTRAL_PORT=11434                         # API port (Ollama-compatible)
MISTRAL_HOST=0.0.0.0                       # Bind address
"""


def test_the_seeds_file() -> None:
    with pytest.raises(
        StackError,
        match=r"line 2: MISTRAL_MODELS_PATH .* relative .*/opt/mistral/data/mistral-models.*env\.path_relative",
    ):
        parse(SEED, ".env")
    assert parse(SEED.replace("=./data", "=/srv/data"), ".env") == {
        "mistral_models_path": "/srv/data/mistral-models",
        "mistral_server_model_path": "/models",
        "mistral_server_default_model": "mistral-7b-instruct",
        "mistral_server_memory_limit": "64G",
        "mistral_server_memory_reservation": "32G",
        "mistral_image_cuda_version": "12.2.0",
        "mistral_image_mistralrs_version": "0.6.0",
        "mistral_server_rust_log": "info",
        "mistral_server_port": 11434,
        "mistral_server_host": "0.0.0.0",
    }


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("RUST_LOG=a=b,c=d", "a=b,c=d"),
        ("export RUST_LOG=debug", "debug"),
        ("RUST_LOG = debug", "debug"),
        ("RUST_LOG='a # b' # c", "a # b"),
        ('RUST_LOG="a"', "a"),
        ("RUST_LOG=a#b", "a#b"),
        ("  RUST_LOG=a\r", "a"),
    ],
)
def test_values(line: str, value: str) -> None:
    assert parse(line, ".env") == {"mistral_server_rust_log": value}


def test_versions() -> None:
    assert parse("CUDA_VERSION=12.8\nMISTRAL_RS_VERSION=0.9.2", ".env") == {
        "mistral_image_cuda_version": "12.8",
        "mistral_image_mistralrs_version": "0.9.2",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\n\nMISTRAL_PROT=1",
            r"\.env, line 3: MISTRAL_PROT is unknown .*Did you mean MISTRAL_PORT\? See \S+ \[env\.unknown_key\]",
        ),
        (
            "MISTRAL_MODELS_PATH=models",
            r"line 1: MISTRAL_MODELS_PATH .*such as /opt/mistral/models.*env\.path_relative",
        ),
        ("MISTRAL_MODEL_PATH=../m", r"line 1: MISTRAL_MODEL_PATH .*such as /opt/m, .*_relative"),
        ("PATH=/bin", r"line 1: PATH is unknown .*Remove the line"),
        ("# c\nCUDA_VERSION=latest", r"line 2: CUDA_VERSION is 'latest', but must be a version.*env\.bad_value"),
        ("CUDA_VERSION=12", r"line 1: CUDA_VERSION .*env\.bad_value"),
        ("CUDA_VERSION=12.2.0.1", r"line 1: CUDA_VERSION .*env\.bad_value"),
        ("MISTRAL_RS_VERSION=master", r"line 1: MISTRAL_RS_VERSION .*v0\.6\.0.*env\.bad_value"),
        ("MISTRAL_RS_VERSION=vv0.6.0", r"env\.bad_value"),
        ("hello", r"line 1: 'hello' is not a setting.*env\.bad_line"),
        ("RUST_LOG='a", r"env\.bad_line"),
        ('HF_TOKEN="hf_secret', r"line 1: 'HF_TOKEN' is not a setting.*env\.bad_line"),
        ("HF_TOKEN hf_secret", r"line 1: 'HF_TOKEN' is not a setting.*env\.bad_line"),
        ("RUST_LOG=", r"env\.bad_value"),
        ("RUST_LOG=# nothing", r"env\.bad_value"),
        ("MISTRAL_PORT=http", r"a port's number.*env\.bad_value"),
        ("RUST_LOG=a\nRUST_LOG=b", r"line 2: RUST_LOG was set in line 1.*env\.key_twice"),
    ],
)
def test_refused(text: str, expected: str) -> None:
    with pytest.raises(StackError, match=expected):
        parse(text, ".env")


ABOVE = "MISTRAL_MODEL_PATH=/models\nDEFAULT_MODEL=a\n"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${MISTRAL_MODEL_PATH}/x", "/models/x"),
        ("$MISTRAL_MODEL_PATH/x", "/models/x"),
        ('"${MISTRAL_MODEL_PATH}/x" # c', "/models/x"),
        ("${MISTRAL_MODEL_PATH:-/other}", "/models"),
        ("${MISTRAL_MODEL_PATH-/other}", "/models"),
        ("${MISTRAL_MODEL_PATH:?is needed}", "/models"),
        ("${MISTRAL_MODEL_PATH:+/yes}", "/yes"),
        ("${MISTRAL_MODEL_PATH+${DEFAULT_MODEL:-b}}/x", "a/x"),
        ("'${HOME}'", "${HOME}"),
        ("a$$b", "a$b"),
        ("$${HOME}", "${HOME}"),
        ("$$$DEFAULT_MODEL", "$a"),
    ],
)
def test_references_are_expanded_as_compose_does(written: str, value: str) -> None:
    assert parse(f"{ABOVE}RUST_LOG={written}", ".env")["mistral_server_rust_log"] == value


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "MISTRAL_MODELS_PATH=${HOME}/models",
            r"has '\$\{HOME\}', and HOME is not set above it: Compose takes it from the env",
        ),
        ("MISTRAL_MODELS_PATH=$HOME/models", r"has '\$\{HOME\}'"),
        ('MISTRAL_MODELS_PATH="${DATA:-/srv}/models"', r"has '\$\{DATA:-/srv\}'"),
        ("MISTRAL_MODELS_PATH='${HOME}/models'", r"has '\$\{HOME\}/models', which is not a plain path"),
        ("MISTRAL_MODELS_PATH=~/models", r"has '~/models', which is not a plain path"),
        ("RUST_LOG=${DEFAULT_MODEL:+${HOME}}", r"has '\$\{HOME\}'"),
        ("RUST_LOG=${MISTRAL_HOST}\nMISTRAL_HOST=::", r"and MISTRAL_HOST is not set above it"),
        ("RUST_LOG=$(hostname)", r"has '\$\(hostname\)', which Compose can't expand either"),
        ("RUST_LOG=${DEFAULT_MODEL", r"whose brace is not closed"),
        ("RUST_LOG=${DEFAULT_MODEL/a/b}", r"which Compose can't expand either"),
        ("RUST_LOG=a$", r"which Compose can't expand either"),
        ("RUST_LOG=$5", r"which Compose can't expand either"),
        ("RUST_LOG=${}", r"which Compose can't expand either"),
    ],
)
def test_what_compose_takes_from_elsewhere_is_refused_with_its_line(written: str, expected: str) -> None:
    with pytest.raises(StackError, match=rf"\.env, line 3: \w+ .*{expected}.*\[env\.not_expanded\]"):
        parse(f"{ABOVE}{written}", ".env")


@given(st.text())
def test_every_line_is_understood_or_refused(text: str) -> None:
    lines = [line.strip() for line in text.splitlines()]
    settings = [line for line in lines if line and not line.startswith("#")]
    try:
        variables = parse(text, ".env")
    except StackError:
        return
    assert len(variables) == len(settings)
    assert set(variables) <= set(VARIABLES.values())
