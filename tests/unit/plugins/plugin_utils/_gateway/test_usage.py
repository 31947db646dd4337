"""From the files in which the gateway counts to what is shown."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.usage_report import usage_report
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx.usage_files import HEADER, of_month


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "usage-2026-10-31.tsv").write_text(f"{HEADER}\nalice\ttiny\t9\t9\t9\t9\n")
    (tmp_path / "usage-2026-11-01.tsv").write_text(f"{HEADER}\nalice\ttiny\t2\t10\t20\t0\nbob\ta, b\t1\t1\t1\t1\n")
    (tmp_path / "usage-2026-11-30.tsv").write_text(f"{HEADER}\nalice\ttiny\t3\t1000\t2000000\t1\n")
    (tmp_path / "usage-2026-11-30.tsv.4711").write_text("half")
    (tmp_path / "limits.tsv").write_text("1\n")
    return tmp_path


def test_a_month(folder: Path) -> None:
    rows = of_month(str(folder), "2026-11")
    assert [(row["day"], row["key"], row["requests"]) for row in rows] == [
        ("2026-11-01", "alice", 2),
        ("2026-11-01", "bob", 1),
        ("2026-11-30", "alice", 3),
    ]
    # Two gateways have counted the same.
    report = usage_report([*rows, *rows])
    assert report["rows"][0] == {
        "key": "alice",
        "model": "tiny",
        "requests": 10,
        "tokens_in": 2020,
        "tokens_out": 4000040,
        "tokens_in_estimated": 2,
    }
    assert report["table"] == [
        "key    model  requests  tokens_in  tokens_out  tokens_in_estimated",
        "alice  tiny         10      2,020   4,000,040                    2",
        "bob    a, b          2          2           2                    2",
        "all                 12      2,022   4,000,042                    4",
    ]
    table = list(csv.DictReader(report["csv"].splitlines()))
    assert [(row["key"], row["model"], row["tokens_out"]) for row in table] == [
        ("alice", "tiny", "4000040"),
        ("bob", "a, b", "2"),
    ]


def test_nothing_was_counted(tmp_path: Path) -> None:
    assert of_month(str(tmp_path / "none"), "2026-11") == []
    assert usage_report([])["csv"] == "key,model,requests,tokens_in,tokens_out,tokens_in_estimated\n"
    assert usage_report([])["table"][-1].split() == ["all", "0", "0", "0", "0"]


@pytest.mark.parametrize("month", ["", "2026", "2026-13", "2026-1", "2026-11-01", "../x", "2026-11\n"])
def test_a_month_that_is_none(tmp_path: Path, month: str) -> None:
    with pytest.raises(StackError, match="gateway.month_invalid"):
        of_month(str(tmp_path), month)


@pytest.mark.parametrize("line", ["alice\ttiny\t1\t1", "alice\ttiny\t1\t1\t1\t-1", "", "alice tiny 1 1 1 1"])
def test_a_damaged_file_is_not_summed_up(folder: Path, line: str) -> None:
    (folder / "usage-2026-11-02.tsv").write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(StackError, match="gateway.usage_damaged"):
        of_month(str(folder), "2026-11")
