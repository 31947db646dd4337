# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_trust refuses and reports.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "trust.file_missing",
        "The controller has no file {paths}.",
        "Correct 'mistral_ca_certificates', or put the file there.",
    ),
    Fault(
        "trust.private_key",
        "{paths} on the controller holds a private key.",
        "Put only the certificates of authorities into 'mistral_ca_certificates'.",
    ),
)
