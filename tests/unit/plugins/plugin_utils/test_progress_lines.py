"""Lines that show the progress of a job."""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.plugin_utils._progress_lines import BuildProgress


def test_a_build_has_a_line_for_each_phase_and_each_minute() -> None:
    lines = BuildProgress("b1", is_terminal=False)
    at = {"name": "engine:x", "phase": "compiling", "crates": 3, "crates_total": 412, "elapsed": 75}
    assert lines.line(at, 0.0) == "b1: engine:x, compiling, 3 of up to 412 crates (1 min 15 s)"
    assert lines.line({**at, "crates": 4}, 59.0) == ""
    assert lines.line({**at, "crates": 5}, 60.0)
    assert lines.line({**at, "phase": "installing"}, 61.0) == "b1: engine:x, installing (1 min 15 s)"
    assert lines.line({}, 200.0) == ""
