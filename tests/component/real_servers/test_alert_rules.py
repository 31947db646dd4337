"""The alert rules before the real promtool, with the series that the engine and the exporters have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

from tests.component.real_servers.packages import ROOT, needed

ROLE = ROOT / "roles" / "mistral_monitor"


@pytest.fixture
def promtool() -> str:
    return needed("promtool", "prometheus")


def test_alert_rules(promtool: str, tmp_path: Path) -> None:
    header, _, template = (ROLE / "templates" / "rules.yml.j2").read_text().partition("\n")
    assert header == '#jinja2: variable_start_string: "[%", variable_end_string: "%]"'
    environment = jinja2.Environment(
        variable_start_string="[%", variable_end_string="%]", undefined=jinja2.StrictUndefined
    )
    variables = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    rules = tmp_path / "rules.yml"
    rules.write_text(environment.from_string(template).render(**variables, ansible_managed="a test"))
    tests = (ROOT / "tests" / "component" / "real_servers" / "rules_test.yml").read_text()
    (tmp_path / "test.yml").write_text(tests.replace("/etc/prometheus/mistral/rules.yml", str(rules)))
    done = subprocess.run([promtool, "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout + done.stderr
