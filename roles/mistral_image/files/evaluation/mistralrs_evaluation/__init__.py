# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evaluation engine: the mistral.rs Python wheel behind the HTTP API of the mistral.rs server.

It generates on the CPU. It is for trying the collection out and for testing it without a GPU.
"""

from __future__ import annotations

LABEL = "evaluation"
DESCRIPTION = "mistralrs.stack evaluation engine (CPU, not for production)"


class StartError(Exception):
    """The engine can't be started; the text is one sentence for the operator."""
