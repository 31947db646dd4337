# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_gateway refuses and reports, besides what _gateway checks.

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
        "gateway.certificate_missing",
        "The files of your own certificate are not both there: 'mistral_gateway_certificate' is '{certificate}', "
        "'mistral_gateway_private_key' is '{private_key}'.",
        "Give the paths on the controller, or leave both empty for a self-signed certificate.",
    ),
    Fault(
        "gateway.file_missing",
        "'{variable}' is '{path}', and there is no such file on the controller.",
        "Give the path of the file, or leave it out.",
    ),
    Fault(
        "gateway.port_in_use",
        "Port {port} of {host} is in use by {others}.",
        "Stop that program, or choose another '{variable}'.",
    ),
    Fault(
        "gateway.firewall_not_running",
        "'mistral_gateway_firewall' is '{firewall}', which does not run on {host}.",
        "Install it and switch it on, with a rule that lets SSH in, or leave 'mistral_gateway_firewall' out; the role "
        "only adds rules to a firewall that runs.",
    ),
    Fault(
        "gateway.acme_failed",
        "The authority at {directory} gave {host} no certificate for {names}: {reason}.",
        "Have these names lead to this host from where the authority is, let it reach port {port}, and run again; "
        "/var/log/letsencrypt/letsencrypt.log of the host says all. The gateway goes on with the certificate that it "
        "has.",
    ),
    Fault(
        "gateway.rotate_unknown_key",
        "There is no generated API key '{key}' to rotate.",
        "Name one with -e key=NAME that 'mistral_gateway_api_keys' lists without 'key' and that was made in "
        "{credentials}; a key that you chose is rotated by a second entry beside the first one.",
    ),
    Fault(
        "gateway.rotation_under_way",
        "A rotation of the API key '{key}' is under way, and the key before it still valid.",
        "Have all clients use the new one and end it with -e finish=true, then begin another one.",
    ),
    Fault(
        "gateway.rotation_not_begun",
        "No rotation of the API key '{key}' is under way.",
        "Begin one without -e finish=true.",
    ),
)
