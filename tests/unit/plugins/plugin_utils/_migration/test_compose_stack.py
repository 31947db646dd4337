"""The seed's stack becomes an inventory that the roles accept, and what is different is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible_collections.mistralrs.stack.plugins.filter.compose_inventory import compose_inventory
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.plugin_utils._models.entries import model_entries

# As the seed's documentation has them.
ENV = """\
MISTRAL_MODELS_PATH=./data/mistral-models  # Where models are stored
MISTRAL_MODEL_PATH=/models                  # Internal container path
DEFAULT_MODEL=mistral-7b-instruct          # Default model to use
MISTRAL_MEMORY_LIMIT=64G                   # Maximum memory allocation
MISTRAL_MEMORY_RESERVATION=32G             # Reserved memory
CUDA_VERSION=12.2.0                        # CUDA version for the image
MISTRAL_RS_VERSION=v0.6.0                  # mistral.rs version to build
RUST_LOG=info                              # Logging level
MISTRAL_PORT=11434                         # API port (Ollama-compatible)
MISTRAL_HOST=0.0.0.0                       # Bind address
"""
CONFIG = """\
models:
  path: "/models"
  quantization: "Q4_K_M"
  context_length: 8192
server:
  host: "0.0.0.0"
  port: 11434
  num_threads: 8
inference:
  temperature: 0.7
  top_p: 0.9
  max_tokens: 2048
  batch_size: 8
gpu:
  memory_fraction: 0.9
  allow_growth: false
"""
STORE = "/opt/stack/data/mistral-models"
FILES = ["mistral-7b-instruct-q4_k_m.gguf", "mixtral-8x7b-instruct-q5_k_m.gguf", "codestral-22b-q8_0.gguf"]
GPU = {"index": 0, "uuid": "GPU-a", "memory": 80 << 30}
GGUF = {"version": 3, "kv_bytes_per_token": 131_072, "block_count": 32, "chat_template": True, "context_length": 32768}
SECRET = "hf_do_not_show_me"


def header(file: str, size: int = 4 << 30) -> dict[str, Any]:
    return {"item": {"path": f"{STORE}/{file}"}, "remote": {"size": size, "gguf": GGUF}}


def migrated(
    env: str = ENV,
    config: str = CONFIG,
    files: list[str] | None = None,
    gpus: list[dict[str, Any]] | None = None,
    containers: tuple[str, ...] = ("mistral",),
    models: list[dict[str, Any]] | None = None,
    others: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    found = {
        "base": "/opt/stack",
        "env": {"path": "/opt/stack/.env" if env else "", "text": env},
        "config": {"path": "/opt/stack/config/mistral/config.yml" if config else "", "text": config},
        "models_path": STORE,
        "models": [header(file) for file in (FILES if files is None else files)] + (models or []),
        "others": others or [],
        "gpus": [GPU] if gpus is None else gpus,
        "containers": list(containers),
    }
    return compose_inventory(found, host="llm", folder="/home/me/inv", reached={"ansible_host": "192.0.2.1"})


def written(result: dict[str, Any], name: str = "group_vars/all/main.yml") -> Any:
    (file,) = [each for each in result["files"] if each["path"] == f"/home/me/inv/{name}"]
    return yaml.safe_load(file["content"])


NEWER = ENV.replace("v0.6.0", "v0.9.2")


def test_the_settings_keep_their_values() -> None:
    result = migrated(NEWER)
    assert result["errors"] == []
    assert written(result) == {
        "mistral_models_path": STORE,
        "mistral_server_model_path": "/models",
        "mistral_server_memory_limit": "64G",
        "mistral_server_memory_reservation": "32G",
        "mistral_image_cuda_version": "12.2.0",
        "mistral_image_mistralrs_version": "0.9.2",
        "mistral_server_rust_log": "info",
        "mistral_server_port": 11434,
        "mistral_models": [
            {"name": "mistral-7b-instruct", "quantization": "q4_k_m", "source": f"file://{STORE}/{FILES[0]}"},
            {"name": "codestral-22b", "quantization": "q8_0", "source": f"file://{STORE}/{FILES[2]}"},
            {"name": "mixtral-8x7b-instruct", "quantization": "q5_k_m", "source": f"file://{STORE}/{FILES[1]}"},
        ],
        "mistral_server_config": {
            "models": {"context_length": 8192},
            "server": {"num_threads": 8},
            "inference": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 2048, "batch_size": 8},
            "gpu": {"memory_fraction": 0.9, "allow_growth": False},
        },
        "mistral_server_replaces": "mistral",
    }
    hosts = written(result, "hosts.yml")["all"]
    assert hosts["hosts"] == {"llm": {"ansible_host": "192.0.2.1"}}
    assert set(hosts["children"]) == {"builders", "gpu_hosts", "gateways", "monitors"}


def test_the_roles_accept_it_and_the_store_keeps_the_files() -> None:
    variables = written(migrated(NEWER))
    entries, errors = model_entries(variables["mistral_models"])
    assert errors == []
    assert {entry["file"] for entry in entries} == set(FILES)
    models = [{**entry, "path": f"{STORE}/{entry['file']}", "size": 4 << 30, "gguf": GGUF} for entry in entries]
    plan = engine_plan(
        variables["mistral_server_config"],
        variables["mistral_image_mistralrs_version"],
        [GPU],
        models,
        port=variables["mistral_server_port"],
        model_path=variables["mistral_server_model_path"],
    )
    # The name that clients of the old stack said.
    assert plan["default_model"] == "mistral-7b-instruct-q4_k_m"
    assert {"mistral-7b-instruct", "mistral-7b-instruct-q4_k_m.gguf"} <= set(plan["gateway"]["models"][0]["aliases"])


def test_what_has_another_meaning_is_said() -> None:
    remarks = "\n".join(migrated(NEWER)["remarks"])
    for words in (
        "listened on 0.0.0.0, port 11434, for everybody",
        "models.context_length is what the engine plans its memory for",
        "inference.batch_size is how many",
        "downloads nothing",
    ):
        assert words in remarks
    assert "0.9.2" in remarks


def test_an_old_engine_serves_one_model() -> None:
    result = migrated()
    assert [each["name"] for each in written(result)["mistral_models"]] == ["mistral-7b-instruct"]
    content = next(each["content"] for each in result["files"] if each["path"].endswith("main.yml"))
    assert "# - name: codestral-22b\n" in content
    assert any("Only mistral-7b-instruct is served" in each and "0.6.0" in each for each in result["remarks"])


def test_models_that_do_not_fit_together_are_not_served_together() -> None:
    small = [{**GPU, "memory": 16 << 30}]
    result = migrated(NEWER, models=[header("big-70b-q4_k_m.gguf", 10 << 30)], gpus=small)
    assert len(written(result)["mistral_models"]) == 1
    assert any("can't serve" in each for each in result["remarks"])


@pytest.mark.parametrize(
    ("default", "config", "first"),
    [
        ("mistral-7b-instruct", CONFIG, "mistral-7b-instruct"),
        ("mixtral-8x7b-instruct-q5_k_m.gguf", CONFIG, "mixtral-8x7b-instruct"),
        ("codestral", CONFIG, "codestral-22b"),
        ("MIXTRAL-8x7b", CONFIG, "mixtral-8x7b-instruct"),
    ],
)
def test_the_default_model_comes_first(default: str, config: str, first: str) -> None:
    result = migrated(NEWER.replace("DEFAULT_MODEL=mistral-7b-instruct", f"DEFAULT_MODEL={default}"), config)
    assert written(result)["mistral_models"][0]["name"] == first
    assert not any("DEFAULT_MODEL" in each for each in result["remarks"])


def test_the_quantization_chooses_the_default_model() -> None:
    files = ["m-7b-q8_0.gguf", "m-7b-q4_k_m.gguf"]
    result = migrated("DEFAULT_MODEL=m-7b\n", CONFIG, files)
    assert written(result)["mistral_models"][0]["quantization"] == "q4_k_m"
    assert "quantization" not in written(result)["mistral_server_config"]["models"]


def test_a_default_model_that_is_not_there() -> None:
    result = migrated("DEFAULT_MODEL=llama\n", "")
    assert any(each.startswith("DEFAULT_MODEL=llama is none of the models") for each in result["remarks"])


@pytest.mark.parametrize(
    ("file", "entry"),
    [
        ("a-7b-q4_k_m.gguf", {"name": "a-7b", "quantization": "q4_k_m"}),
        ("a-7b-v0.2.Q4_K_M.gguf", {"name": "a-7b-v0.2.Q4_K_M.gguf"}),
        ("A-7B-Q4_K_M.gguf", {"name": "A-7B-Q4_K_M.gguf"}),
        ("whatever.gguf", {"name": "whatever.gguf"}),
    ],
)
def test_a_file_keeps_its_name(file: str, entry: dict[str, str]) -> None:
    (found,) = written(migrated("", CONFIG, [file]))["mistral_models"]
    assert found == {**entry, "source": f"file://{STORE}/{file}"}
    assert model_entries([found])[0][0]["file"] == file


def test_secrets_are_in_a_file_of_their_own_and_nowhere_else() -> None:
    result = migrated(f"{NEWER}HF_TOKEN={SECRET}\nGRAFANA_PASSWORD=another-{SECRET}\nSTACK=mistral\n")
    (secret,) = [each for each in result["files"] if SECRET in each["content"]]
    assert (secret["path"], secret["mode"]) == ("/home/me/inv/group_vars/all/secrets.yml", "0600")
    assert yaml.safe_load(secret["content"]) == {"mistral_models_token": SECRET}
    shown = json.dumps([result["remarks"], result["next"], result["errors"]])
    assert SECRET not in shown
    for words in ("ansible-vault encrypt", "GRAFANA_PASSWORD", "STACK"):
        assert words in shown


def test_without_a_token_there_is_no_file_for_it() -> None:
    assert [each["path"].removeprefix("/home/me/inv/") for each in migrated()["files"]] == [
        "hosts.yml",
        "group_vars/all/main.yml",
    ]


def test_what_the_roles_would_refuse_is_left_out_and_said() -> None:
    config = CONFIG + "cache:\n  size: 4\n"
    result = migrated(NEWER, config.replace("batch_size: 8", "batch_size: many").replace("top_p", "top_q"))
    settings = written(result)["mistral_server_config"]
    assert "cache" not in settings
    assert settings["inference"] == {"temperature": 0.7, "max_tokens": 2048}
    left = [each for each in result["remarks"] if each.startswith("Left out of config.yml")]
    assert len(left) == 3


def test_a_host_without_a_gpu() -> None:
    result = migrated(NEWER, gpus=[])
    assert "gpu" not in written(result)["mistral_server_config"]
    assert any("the host has no GPU" in each for each in result["remarks"])


def test_env_and_config_that_disagree() -> None:
    result = migrated(NEWER, CONFIG.replace("port: 11434", "port: 8080"))
    assert written(result)["mistral_server_port"] == 11434
    assert any("config.yml server.port: 8080; .env has won" in each for each in result["remarks"])


def test_what_is_left_out_is_said() -> None:
    result = migrated(
        NEWER,
        models=[header("Mistral 7B.gguf"), {"item": {"path": f"{STORE}/x.gguf"}, "msg": "It is a web page."}],
        others=[
            {"path": f"{STORE}/qwen", "isdir": True},
            {"path": f"{STORE}/y.gguf", "islnk": True},
            {"path": f"{STORE}/README.md", "isreg": True},
        ],
    )
    remarks = "\n".join(result["remarks"])
    for words in (
        "Mistral 7B.gguf is left out",
        "x.gguf is left out: It is a web",
        "/qwen is left",
        "y.gguf is left out",
    ):
        assert words in remarks
    assert "README" not in remarks
    assert len(written(result)["mistral_models"]) == 3


@pytest.mark.parametrize(("containers", "words"), [((), "none"), (("a", "b"), "several (a, b)")])
def test_which_container_gives_way_is_not_guessed(containers: tuple[str, ...], words: str) -> None:
    result = migrated(NEWER, containers=containers)
    assert "mistral_server_replaces" not in written(result)
    assert any(words in each and "mistral_server_replaces" in each for each in result["remarks"])


def test_what_to_run_next() -> None:
    steps = migrated(NEWER)["next"]
    assert any("ansible-playbook -i /home/me/inv mistralrs.stack.site" in each for each in steps)
    assert any("docker start mistral" in each for each in steps)


@pytest.mark.parametrize(
    ("given", "identity"),
    [
        ({"config": "models: [\n"}, "migrate.config_unreadable"),
        ({"config": "- a\n"}, "migrate.config_unreadable"),
        ({"env": "no setting\n"}, "env.bad_line"),
        ({"env": "MISTRAL_PORT=x\n"}, "env.bad_value"),
        ({"files": []}, "migrate.no_models"),
    ],
)
def test_what_cannot_be_read(given: dict[str, Any], identity: str) -> None:
    result = migrated(**given)
    assert [error[-len(identity) - 1 : -1] for error in result["errors"]] == [identity]
    assert result["files"] == []
