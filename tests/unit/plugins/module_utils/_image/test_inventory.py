"""The bill of materials and the scan, as the end of a build makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import inventory

Finished = Callable[..., Any]


def record_of(build: Any) -> dict[str, Any]:
    return dict(json.loads(Path(build.options.images, f"{build.options.id}.json").read_text()))


UNLISTED = [
    (127, "", 'exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown.\n'),
    (0, "debian\n# Cargo.lock\n", ""),
    (0, "", ""),
]


@pytest.mark.parametrize("answer", UNLISTED, ids=["no shell", "no packages", "nothing"])
def test_contents_that_can_not_be_listed(answer: tuple[int, str, str], finished: Finished) -> None:
    build = finished(("os-release", answer), below="a")
    assert [warning.split(" on b1")[0] for warning in build.warnings] == [
        "The packages of the image that was built can't be listed"
    ]
    with pytest.raises(StackError) as caught:
        finished(("os-release", answer), below="b", scan_fail_on="high")
    assert caught.value.id == "image.contents_unreadable"


def test_a_scan_that_does_not_take_place(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory.shutil, "which", lambda name: None)
    assert finished(below="a").warnings == []
    assert "neither trivy nor grype" in finished(below="b", scan_fail_on="high").warnings[0]
    monkeypatch.setattr(inventory.shutil, "which", lambda name: f"/usr/bin/{name}")
    # It ends with an error; it ends well and leaves no report.
    for number, answer in enumerate([(1, "", "FATAL DB download failed.\n"), (0, "", "")]):
        build = finished(("trivy", answer), below=f"c{number}")
        assert record_of(build)["scan"]["problem"]
        assert "did not scan the image" in build.warnings[0]
        with pytest.raises(StackError) as caught:
            finished(("trivy", answer), below=f"d{number}", scan_fail_on="high")
        assert caught.value.id == "image.scan_failed"


def test_a_scan_refuses_an_image(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory.shutil, "which", lambda name: f"/usr/bin/{name}")
    for name in ("a", "b"):
        images = tmp_path / name / "mistral" / "images"
        images.mkdir(parents=True)
        report = {"Results": [{"Vulnerabilities": [{"Severity": "HIGH"}]}]}
        Path(images, "0123456789abcdef.scan.json").write_text(json.dumps(report))
    assert record_of(finished(below="a", scan_fail_on="critical"))["scan"]["found"] == {"high": 1}
    with pytest.raises(StackError) as caught:
        finished(below="b", scan_fail_on="high")
    assert caught.value.id == "image.vulnerable"


def test_severities() -> None:
    trivy = {"Results": [{"Vulnerabilities": [{"Severity": "HIGH"}, {"Severity": "LOW"}]}, {}]}
    grype = {"matches": [{"vulnerability": {"severity": "High"}}]}
    assert inventory.severities(trivy) == {"high": 1, "low": 1}
    assert inventory.severities(grype) == {"high": 1}
