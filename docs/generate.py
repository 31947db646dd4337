"""Writes the pages that are made from the code: README.md of each role (from its argument_specs), docs/errors.md
(from the faults of the plugins, of which plugin_utils/_faults has those of roles and playbooks, and the messages in
scripts), docs/engine-versions.md (from the tables of engine and CUDA versions), docs/engine-settings.md (from what the
engine's plan says for two values of each setting) and docs/catalog.md.

Usage: generate.py [--check]; with --check nothing is written and stale pages are named with exit code 1.
"""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "ansible_collections.mistralrs.stack"
GENERATED = "<!-- Made by docs/generate.py: change the source it names, then run `make docs`. -->"
# Semantic markup of Ansible's documentation: O(option), V(value), C(code), M(module), B(bold) ...
MARKUP = re.compile(r"\b(?P<kind>[OVCMRFIBELP])\((?P<text>(?:[^()\\]|\\.|\([^()]*\))*)\)")
ERROR_ID = re.compile(r"\[(?P<id>[a-z]+(?:_[a-z]+)*\.[a-z0-9_]+)\]\s*$")
ROLE_ERROR = re.compile(r"'([a-z_]+\.[a-z0-9_]+)' \| mistralrs\.stack\.fault\(")


def markdown(text: str) -> str:
    """Text with Ansible's semantic markup as Markdown."""

    def one(match: re.Match[str]) -> str:
        kind, content = match["kind"], match["text"].replace("\\", "")
        if kind in "IB":
            return f"*{content}*" if kind == "I" else f"**{content}**"
        # The kind of a plugin (`name#filter`) is for links, which these pages do not have.
        return f"`{content.partition('#')[0] if kind == 'P' else content}`"

    return MARKUP.sub(one, text)


def paragraphs(value: str | list[str]) -> list[str]:
    return [markdown(item.strip()) for item in ([value] if isinstance(value, str) else value)]


def option_lines(options: dict[str, Any], depth: int = 0) -> list[str]:
    lines: list[str] = []
    indent = "  " * depth
    for name, option in options.items():
        kind = option.get("type", "str")
        if kind == "list" and "elements" in option:
            kind = f"list of {option['elements']}"
        facts = [kind]
        if option.get("required"):
            facts.append("required")
        if "choices" in option:
            facts.append("one of " + ", ".join(f"`{choice}`" for choice in option["choices"]))
        if "default" in option:
            default = yaml.safe_dump(option["default"], default_flow_style=True, width=10_000).strip()
            facts.append(f"default `{default.removesuffix('...').strip()}`")
        lines.append(f"{indent}- **`{name}`** ({'; '.join(facts)})  ")
        lines.extend(f"{indent}  {text}" for text in paragraphs(option.get("description", [])))
        lines.extend(option_lines(option.get("options", {}), depth + 1))
    return lines


def role_readme(role: Path) -> str:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    main = specs["main"]
    lines = [
        f"# {role.name}",
        "",
        GENERATED.replace("the source it names", "meta/argument_specs.yml"),
        "",
        markdown(main["short_description"]) + ("" if main["short_description"].endswith(".") else "."),
        "",
    ]
    for text in paragraphs(main.get("description", [])):
        lines += [text, ""]
    lines += [
        "## Use",
        "",
        "```yaml",
        "- hosts: all",
        "  roles:",
        f"    - role: mistralrs.stack.{role.name}",
        "```",
        "",
        "The steps are the same in every role: `preflight` (reads only), `install`, `configure`, `run`.",
        "",
        "## Variables",
        "",
        *option_lines(main.get("options", {})),
    ]
    return "\n".join(lines) + "\n"


def plugin(name: str) -> Any:
    """The Python module of a plugin, such as module_utils._errors."""
    if f"{PACKAGE}.plugins" not in sys.modules:
        runpy.run_path(str(ROOT / "tests" / "tools" / "checkout.py"))
    return importlib.import_module(f"{PACKAGE}.plugins.{name}")


def code_errors() -> dict[str, tuple[str, str, str]]:
    """Fault constants of the plugins: id -> (sentence, remedy, where)."""
    fault_type = plugin("module_utils._errors").Fault
    found: dict[str, tuple[str, str, str]] = {}

    def collect(value: Any, where: str) -> None:
        if isinstance(value, fault_type):
            remedy = value.remedies or value.remedy
            if re.fullmatch(r"\{\w+\}", remedy):
                raise SystemExit(f"error: {where}: say in 'remedies' of {value.id} what its remedy may be")
            entry = (value.sentence, remedy, where)
            if found.get(value.id, entry)[:2] != entry[:2]:
                raise SystemExit(f"error: two faults share the id {value.id}: {found[value.id][2]} and {where}")
            found.setdefault(value.id, entry)
        elif isinstance(value, dict):
            for item in value.values():
                collect(item, where)
        elif isinstance(value, (list, tuple)):
            for item in value:
                collect(item, where)
        elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
            for name in value.__dataclass_fields__:
                collect(getattr(value, name), where)

    for folder in ("module_utils", "plugin_utils", "modules", "filter"):
        for path in sorted((ROOT / "plugins" / folder).rglob("*.py")):
            module = plugin(".".join(path.relative_to(ROOT / "plugins").with_suffix("").parts))
            for value in vars(module).values():
                collect(value, str(path.relative_to(ROOT)))
    return found


def script_errors() -> dict[str, tuple[str, str, str]]:
    """Messages of the scripts that prepare the controller: id -> (message, '', where)."""
    found: dict[str, tuple[str, str, str]] = {}
    for path in sorted((ROOT / "tests" / "tools").glob("*.sh")):
        for text in re.findall(r'die "(.*)"$', path.read_text(), flags=re.MULTILINE):
            if match := ERROR_ID.search(text):
                message = re.sub(r"\$\([^()]*\)|\$\w+", "<...>", text[: match.start()]).strip()
                found[match["id"]] = (message, "", str(path.relative_to(ROOT)))
    return found


def yaml_uses() -> dict[str, str]:
    """Where roles and playbooks report an error of the registry: id -> file."""
    found: dict[str, str] = {}
    for folder in ("roles", "playbooks"):
        for path in sorted((ROOT / folder).rglob("*.yml")):
            for error_id in ROLE_ERROR.findall(path.read_text()):
                found.setdefault(error_id, str(path.relative_to(ROOT)))
    return found


def humane(template: str) -> str:
    """A message template as a reader sees it: every expression becomes <...>."""
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "<...>", template)
    text = re.sub(r"\{(\w+)[^{}]*\}", r"<\1>", text)
    return text.replace("<", "&lt;").replace(">", "&gt;")


def parted(message: str) -> tuple[str, str]:
    """A message of a script as sentence and remedy: "what is wrong: do that" or "What is wrong. Do that."."""
    match = re.match(r"(?P<sentence>.{15,}?)(?:: (?=[a-z])|\. (?=[A-Z]))(?P<remedy>.*)", humane(message))
    if not match:
        return humane(message), ""
    remedy = match["remedy"]
    return f"{match['sentence'].rstrip('.')}.", f"{remedy[0].upper()}{remedy[1:].rstrip('.')}."


def errors_page() -> str:
    uses = yaml_uses()
    errors = {
        **script_errors(),
        **{key: (*texts, uses.get(key, where)) for key, (*texts, where) in code_errors().items()},
    }
    lines = [
        "# Errors",
        "",
        GENERATED.replace("the source it names", "the message in the file that its entry names"),
        "",
        "Every message ends with the address of its entry here and its id in brackets. Nothing has been",
        "changed when a check of a `preflight.yml` fails. `<words>` stand for values of your host.",
    ]
    area = ""
    for error_id, (sentence, remedy, where) in sorted(errors.items()):
        if error_id.partition(".")[0] != area:
            area = error_id.partition(".")[0]
            lines += ["", f"## {area}"]
        sentence, remedy = (humane(sentence), humane(remedy)) if remedy else parted(sentence)
        lines += ["", f'<a id="{error_id}"></a>**`{error_id}`** {sentence}  ']
        if remedy:
            lines.append(f"*What to do:* {remedy}  ")
        lines.append(f"`{where}`")
    return "\n".join(lines) + "\n"


def ranges(versions: list[str]) -> str:
    """Versions as ranges: 12.0 to 12.6, 12.8."""
    parts: list[list[str]] = []
    for version in versions:
        major, minor = version.split(".")
        if parts and parts[-1][-1] == f"{major}.{int(minor) - 1}":
            parts[-1].append(version)
        else:
            parts.append([version])
    return ", ".join(part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)


def made_from(*sources: str) -> str:
    """The first line of a page that is made from these files."""
    return GENERATED.replace("the source it names", " and ".join(sources))


def engine_versions_page() -> str:
    table, cuda = plugin("module_utils._engine_versions.table"), plugin("plugin_utils._image.cuda_releases")
    engine = plugin("plugin_utils._image.engine")
    lines = [
        "# Versions of mistral.rs, CUDA and GPUs",
        "",
        made_from(
            "plugins/module_utils/_engine_versions/table.py",
            "plugins/plugin_utils/_image/engine_defects.py",
            "plugins/plugin_utils/_image/cuda_releases.py",
        ),
        "",
        "What `mistral_image_source: build` can build. It chooses the newest CUDA that the version builds with, that",
        "compiles for the GPUs and that the driver fully supports; `mistral_image_cuda_version` sets another one,",
        "within the limits below.",
        "",
        "## Versions",
        "",
        f"For a build, `mistral_image_mistralrs_version` is one of these; the default is {table.DEFAULT_VERSION}.",
        "With `mistral_image_commit` it may be any other from 0.6.0 on; it is then built like the nearest older one",
        "that is known, with a warning. `0.9.2+7` is the seventh commit after the release 0.9.2: that release, the",
        "newest one known here, serves concurrent clients hardly faster than one after the other, and this commit has",
        "the fix. The program reports version 0.9.2, and the image's tag has `-` in place of `+`.",
        "",
        "| versions | program | Rust | CUDA | compute capability | features |",
        "|---|---|---|---|---|---|",
    ]
    built_alike: dict[str, list[str]] = {}
    for row in table.ROWS:
        build = row.build
        columns = (
            f"`{build.binary}` | {build.rust_version} | {ranges(build.cuda_versions)} | "
            f"{build.compute_minimum} or newer | {', '.join(build.features)}"
        )
        built_alike.setdefault(columns, []).extend(release.version for release in row.releases)
    lines += [f"| {engine.ranges(names)} | {columns} |" for columns, names in built_alike.items()]
    lines += [
        "",
        "What is built is always a commit; a tag that points elsewhere stops the build.",
        "",
        "| version | commit | tag | calls itself |",
        "|---|---|---|---|",
    ]
    for one in engine.ENGINE_VERSIONS:
        tag = f"`{one.tag}`" if one.tag else "none"
        lines.append(f"| {one.version} | `{one.commit}` | {tag} | {one.reported_version} |")
    lines += [
        "",
        "## Known defects",
        "",
        "The newest versions have some, too.",
        "",
    ]
    text = plugin("module_utils._version_number").text_of
    for defect in plugin("plugin_utils._image.engine_defects").DEFECTS:
        until = f", fixed in {text(defect.fixed)}" if defect.fixed else ""
        lines.append(f"- From {text(defect.first)} on{until}: {defect.sentence}")
    lines += [
        "",
        "## Drivers",
        "",
        "| NVIDIA driver, at least | newest CUDA |",
        "|---|---|",
    ]
    newest = {driver: name for name, driver in cuda.TOOLKIT_DRIVERS.items()}
    lines += [f"| {driver} | {name} |" for driver, name in newest.items()]
    floors = ", ".join(f"{driver} ({major}.x)" for major, driver in cuda.MAJOR_DRIVERS.items())
    lines += [
        "",
        f"A CUDA set by hand may be newer than that, with a warning, from these drivers on: {floors}.",
        "",
        "## GPUs",
        "",
        "An image is for one compute capability. GPUs of 8.x run code for an older 8.x, so there",
        "`mistral_image_compute_capability` lets different GPUs share an image.",
        "",
        "| compute capability | CUDA, at least |",
        "|---|---|",
    ]
    first_cuda = plugin("plugin_utils._image.compute_capability").CAPABILITY_CUDA
    lines += [f"| {one} | {minimum} |" for one, minimum in first_cuda.items()]
    return "\n".join(lines) + "\n"


# Two values of each setting; the page says what of a plan differs between them.
SETTINGS: dict[str, tuple[Any, Any]] = {
    "models.path": ("/models", "/srv/models"),
    "models.quantization": ("Q4_K_M", "Q8_0"),
    "models.context_length": (4096, 8192),
    "models.context_lengths": ({"mistral:7b": 4096}, {"mistral:7b": 8192}),
    "models.dtype": ("bf16", "f16"),
    "server.host": ("127.0.0.1", "192.0.2.1"),
    "server.port": (11434, 8080),
    "server.num_threads": (4, 8),
    "inference.temperature": (0.7, 1),
    "inference.top_p": (0.9, 1.0),
    "inference.max_tokens": (256, 512),
    "inference.batch_size": (4, 8),
    "inference.prefix_cache": (0, 16),
    "gpu.memory_fraction": (0.5, 0.8),
    "gpu.allow_growth": (False, True),
    "gpu.devices": ([0], [1]),
    "gpu.device_layers": (["0:16", "1:16"], ["0:20", "1:12"]),
    "gpu.cache_mb": (4096, 8192),
    "gpu.cache_type": ("auto", "f8e4m3"),
    "gpu.tensor_parallel": (1, 2),
}


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """The paths at which two documents differ; the elements of lists count as one."""
    if isinstance(first, dict) and isinstance(second, dict):
        names = sorted({*first, *second})
        return [
            found
            for name in names
            for found in differences(first.get(name), second.get(name), f"{path}.{name}" if path else name)
        ]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        found = [each for one, other in zip(first, second) for each in differences(one, other, f"{path}[]")]
        return list(dict.fromkeys(found))
    return [] if first == second else [path]


def flags(first: list[str], second: list[str]) -> list[str]:
    """The flags of which one command line has another value, or which only one has."""
    known = {word for word in (*first, *second) if word.startswith("-")}
    given = [
        {word: line[place + 1 : place + 2] for place, word in enumerate(line) if word in known}
        for line in (first, second)
    ]
    return sorted(word for word in known if given[0].get(word) != given[1].get(word))


def how_it_acts(name: str, version: str) -> str:
    """What a setting changes in what that version is started with and what the gateway does."""
    plan = plugin("module_utils._engine.plan").engine_plan
    refusal = plugin("module_utils._errors").StackErrors
    section, key = name.split(".")
    models = [{"name": "mistral:7b", "quantization": "q4_k_m"}, {"name": "mistral:7b", "quantization": "q8_0"}]
    several = models if name == "models.quantization" and version != "0.6.0" else models[:1]
    gpus = [{"index": 0, "uuid": "GPU-a"}, {"index": 1, "uuid": "GPU-b"}]
    try:
        first, second = (plan({section: {key: value}}, version, gpus, several) for value in SETTINGS[name])
    except refusal:
        return "refused"
    if first["settings"]["server"]["host"] != second["settings"]["server"]["host"]:
        return "the address at which the container is published"
    found = [f"`{flag}`" for flag in flags(first["argv"], second["argv"])]
    found += [f"`{path}`" for path in differences(first["configuration"], second["configuration"])]
    found += [f"`{variable}`" for variable in differences(first["environment"], second["environment"])]
    gateway = [f"`{path}`" for path in differences(first["gateway"], second["gateway"])]
    if gateway:
        found.append(f"the gateway ({', '.join(gateway)})")
    if first["working_directory"] != second["working_directory"]:
        found.append("where the container has the models")
    if not found:
        raise SystemExit(f"error: nothing of the plan for {version} differs between two values of {name}")
    return ", ".join(found)


def engine_settings_page() -> str:
    rows = plugin("module_utils._engine_versions.table").ROWS
    engine = plugin("plugin_utils._image.engine")
    schema = plugin("module_utils._engine.settings").SCHEMA
    names = [f"{section}.{key}" for section, keys in schema.items() for key in keys]
    if set(names) != set(SETTINGS):
        raise SystemExit(f"error: SETTINGS in docs/generate.py and the settings differ: {set(names) ^ set(SETTINGS)}")
    versions = [release.version for row in rows for release in row.releases]
    lines = [
        "# What each setting does",
        "",
        made_from("plugins/module_utils/_engine/settings.py", "plugins/module_utils/_engine/plan.py"),
        "",
        "`mistral_server_config` has four sections. The engine ignores what it does not know, so each key either",
        "changes what is named here, or is refused before anything is changed. `--words` are flags of the engine,",
        "WORDS its environment, other words keys of its configuration file. On a host without a GPU the section",
        "`gpu` is refused.",
        "",
        "| key | what it must be | versions | what it changes |",
        "|---|---|---|---|",
    ]
    for name in names:
        section, key = name.split(".")
        alike: dict[str, list[str]] = {}
        for version in versions:
            alike.setdefault(how_it_acts(name, version), []).append(version)
        for place, (how, those) in enumerate(alike.items()):
            begin = f"| `{name}` | {schema[section][key].expected} |" if place == 0 else "| | |"
            lines.append(f"{begin} {'all' if len(alike) == 1 else engine.ranges(those)} | {how} |")
    lines += [
        "",
        "`models.context_length` does not bound prompt and answer together: the engine plans its memory with it and",
        "refuses only prompts that exceed the model's own context, and the gateway lets no request ask for a longer",
        "answer. `gpu.tensor_parallel` above 1 is refused, because a GGUF model is never split that way: its layers",
        "are spread over the GPUs.",
        "",
        "For what is not here there are `mistral_server_extra_environment` and `mistral_server_extra_toml`. What they",
        "hold reaches the engine unchecked; what the collection sets itself is refused in them.",
    ]
    return "\n".join(lines) + "\n"


def catalog_page() -> str:
    lines = [
        "# Models that are known by name",
        "",
        made_from("plugins/plugin_utils/_models/catalog.yml"),
        "",
        "For these, `mistral_models` needs only a `name`, and a `quantization` if you don't want the default. An",
        "inventory adds its own with `mistral_models_catalog_extra`.",
        "",
        "| name | repository on Hugging Face | default quantization | licence |",
        "|---|---|---|---|",
    ]
    for row in plugin("plugin_utils._models.catalog").rows():
        names = ", ".join(f"`{name}`" for name in row.names)
        lines.append(f"| {names} | {row.repository} | `{row.default}` | {row.license} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    roles = sorted(path.parent.parent for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))
    return {
        **{role / "README.md": role_readme(role) for role in roles},
        ROOT / "docs" / "errors.md": errors_page(),
        ROOT / "docs" / "engine-versions.md": engine_versions_page(),
        ROOT / "docs" / "engine-settings.md": engine_settings_page(),
        ROOT / "docs" / "catalog.md": catalog_page(),
    }


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if check:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)}: run `make docs` and commit the result")
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages()[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
