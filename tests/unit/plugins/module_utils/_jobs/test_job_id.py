# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Equal options are one job, whatever their secrets are."""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job_id import job_id


def test_an_id_depends_on_the_options_and_not_on_secrets() -> None:
    params = {"name": "m", "source": "https://u:p@host/a?id=1", "token": "t", "job": "start", "_ansible_debug": True}
    same = {"name": "m", "source": "https://host/a?id=1", "token": "other", "job": "wait"}
    assert job_id(params) == job_id(same)
    assert len(job_id(params)) == 16
    assert job_id(params) != job_id({**params, "source": "https://host/a?id=2"})
    assert job_id({"tokenizer": "a"}) != job_id({"tokenizer": "b"})
    assert job_id({"key": "a"}, {"key"}) == job_id({})
    several, others = ({"models": [{"name": "m", "source": f"https://{user}host/a"}]} for user in ("u:p@", ""))
    assert job_id(several) == job_id(others)
