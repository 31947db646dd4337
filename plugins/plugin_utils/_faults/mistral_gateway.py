# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_gateway refuses and reports, besides what _gateway_settings checks.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "gateway.plan_invalid",
        "'mistral_gateway_plan' is empty, names no models, or has a default_model that is none of them.",
        "Run the role mistral_server on the engine's host first, or take the value from the filter "
        "mistralrs.stack.engine_plan.",
    ),
    Fault(
        "gateway.queue_needs_one_gateway",
        "The engine may get only {limit} request at a time, but each of the {gateways} hosts of the group gateways "
        "would send it one.",
        "Leave one host in that group, or use a version of mistral.rs that answers several clients correctly "
        "('mistral_image_mistralrs_version').",
    ),
    Fault(
        "gateway.api_key_name_invalid",
        "'mistral_gateway_api_keys' is empty, or a name in it is missing, invalid or used twice.",
        "Give it at least one entry, each with its own name of up to 64 letters, digits, dots, dashes and underscores, "
        "beginning with a letter or digit.",
    ),
    Fault(
        "gateway.api_key_weak",
        "The key {names} of 'mistral_gateway_api_keys' is too short, has characters that do not fit into an HTTP "
        "header, or is used by another entry too.",
        "Use 20 or more letters and digits, or leave the key out to have one made; a key that was made is in "
        "{credentials}.",
    ),
    Fault(
        "gateway.certificate_missing",
        "The files of your own certificate are not both there: 'mistral_gateway_certificate' is '{certificate}', "
        "'mistral_gateway_private_key' is '{private_key}'.",
        "Give the paths on the controller, or leave both empty for a self-signed certificate.",
    ),
    Fault(
        "gateway.port_in_use",
        "Port {port} of {host} is in use by {others}.",
        "Stop that program, or choose another '{variable}'.",
    ),
)
