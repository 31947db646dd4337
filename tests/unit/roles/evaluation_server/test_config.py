"""The engine's configuration file: what is used, what is noted, what is refused."""

from __future__ import annotations

import pytest
from mistralrs_evaluation import StartError
from mistralrs_evaluation.config import load, read

MODEL = """
[[models]]
model_id = "{id}"
[models.format]
quantized_file = "{id}-q4_k_m.gguf"
"""
LEAST = 'command = "serve"\n' + MODEL.format(id="a")


def test_least_configuration_has_the_engines_defaults() -> None:
    configuration = read(LEAST)
    assert [(model.model_id, model.files) for model in configuration.models] == [("a", ("a-q4_k_m.gguf",))]
    assert configuration.default_model_id == "a"
    assert (configuration.host, configuration.port, configuration.max_seqs) == ("0.0.0.0", 1234, 32)
    assert configuration.notes == ()


def test_full_configuration() -> None:
    configuration = read(
        'command = "serve"\ndefault_model_id = "b"\n[global]\nseed = 7\ntoken_source = "none"\n'
        '[server]\nhost = "127.0.0.1"\nport = 11434\nno_ui = true\naccess_log_format = "json"\ndisable_metrics = true\n'
        '[runtime]\nmax_seqs = 4\njinja_explicit = "all.jinja"\n[paged_attn]\nmode = "on"\nmemory_fraction = 0.85\n'
        + MODEL.format(id="a")
        + MODEL.format(id="b")
        + '[models.device]\ncpu = true\nmax_seq_len = 8192\ndevice_layers = ["0:16"]\n'
    )
    assert configuration.default_model_id == "b"
    assert (configuration.seed, configuration.port, configuration.max_seqs) == (7, 11434, 4)
    assert configuration.access_log_format == "json"
    assert not configuration.metrics
    assert configuration.models[0].jinja_explicit == "all.jinja"
    assert configuration.notes == (
        "paged_attn.mode",
        "paged_attn.memory_fraction",
        "models[1].device.max_seq_len",
        "models[1].device.device_layers",
    )


def test_what_happens_on_a_cpu_anyway_is_not_noted() -> None:
    assert read('command = "serve"\n[paged_attn]\nmode = "off"\n' + MODEL.format(id="a")).notes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("command = ", "not valid TOML"),
        ('command = "run"\n' + MODEL.format(id="a"), "'command' is 'run'"),
        (MODEL.format(id="a"), "no key 'command'"),
        ('command = "serve"\n', "no [[models]] entry"),
        ('command = "serve"\nmodels = 3\n', "no [[models]] entry"),
        ('command = "serve"\nfoo = 1\n' + MODEL.format(id="a"), "the key 'foo'"),
        ('command = "serve"\n[server]\nprot = 1\n' + MODEL.format(id="a"), "the key 'server.prot'"),
        ('command = "serve"\n[server]\nport = "1"\n' + MODEL.format(id="a"), "'server.port' must be a whole number"),
        ('command = "serve"\n[server]\nport = true\n' + MODEL.format(id="a"), "'server.port' must be a whole number"),
        ('command = "serve"\n[server]\nport = 70000\n' + MODEL.format(id="a"), "'server.port' must be from 1 to 65535"),
        ('command = "serve"\n[runtime]\nmax_seqs = 0\n' + MODEL.format(id="a"), "'runtime.max_seqs' must be from 1"),
        ('command = "serve"\n[runtime]\nenable_shell = true\n' + MODEL.format(id="a"), "'runtime.enable_shell'"),
        ('command = "serve"\n[global]\nlog = "/tmp/x"\n' + MODEL.format(id="a"), "'global.log'"),
        (LEAST + MODEL.format(id="a"), "Model ID conflict"),
        ('command = "serve"\ndefault_model_id = "z"\n' + MODEL.format(id="a"), "default_model_id 'z'"),
        (LEAST + '[models.quantization]\nisq = "4"\n', "'models[0].quantization.isq'"),
        ('command = "serve"\n[[models]]\nmodel_id = "a"\n', "names no GGUF file"),
        ('command = "serve"\n[[models]]\n[models.format]\nquantized_file = "a.gguf"\n', "has no model_id"),
        (LEAST + "[models.device]\ncpu = 1\n", "'models[0].device.cpu' must be true or false"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(StartError) as caught:
        read(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_off_switches_of_refused_features_are_fine() -> None:
    read('command = "serve"\n[runtime]\nenable_shell = false\nagent = false\n' + MODEL.format(id="a"))


def test_split_file() -> None:
    text = 'command = "serve"\n[[models]]\nmodel_id = "a"\n[models.format]\nquantized_file = "a-1.gguf;a-2.gguf"\n'
    assert read(text).models[0].files == ("a-1.gguf", "a-2.gguf")


def test_errors_of_a_file_name_it(tmp_path) -> None:
    (tmp_path / "engine.toml").write_text("x = 1")
    for name, words in (
        ("engine.toml", "the key 'x'"),
        ("gone.toml", "can't be read"),
        ("engine.conf", "ends in .toml"),
    ):
        with pytest.raises(StartError) as caught:
            load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert words in str(caught.value)
