"""The engine's metrics that alerts and the evaluation server name are those that the real engine has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mistralrs_evaluation.metrics import Metrics

ROOT = Path(__file__).resolve().parents[3]

KIND = re.compile(r"^# TYPE ((?:mistralrs|http)_\w+) (\w+)$", re.MULTILINE)
# The engine shows a metric from its first value on. The recorded one had answered no stream; these two are in
# mistralrs-server-core/src/metrics.rs (TTFT_METRIC and ITL_METRIC, with buckets) at v0.9.2 and at 9e922623.
STREAMS = {"mistralrs_time_to_first_token_seconds": "histogram", "mistralrs_inter_token_latency_seconds": "histogram"}


def real() -> dict[str, str]:
    kinds = dict(STREAMS)
    for name in ("metrics", "metrics_at_end"):
        file = ROOT / "tests" / "recordings" / "mistralrs-0.9.2+7" / "http" / f"{name}.json"
        kinds.update(KIND.findall(json.loads(file.read_text(encoding="utf-8"))["response"]["body"]))
    return kinds


def test_alerts_name_metrics_of_the_engine() -> None:
    text = (ROOT / "roles" / "mistral_monitor" / "templates" / "rules.yml.j2").read_text()
    names = set(re.findall(r"\b(?:mistralrs_[a-z_]+|http_request[a-z_]+)\b", text))
    assert names
    kinds = real()
    for name in names:
        base = re.sub("_(bucket|sum|count)$", "", name)
        assert base in kinds, name
        assert (base != name) == (kinds[base] == "histogram"), name


def test_the_evaluation_server_has_no_metric_of_its_own() -> None:
    own = dict(KIND.findall(Metrics().text().decode()))
    assert own
    assert own.items() <= real().items()
