# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: gateway_settings
short_description: Check the gateway's variables and bring them into the form that Nginx takes
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Says of each variable of the role P(mistralrs.stack.mistral_gateway#role) that Nginx could not use, or would read as
    something else, what is wrong with it, so that this is known before anything is changed.
positional: _input
options:
  _input:
    description:
      - The role's variables by their names without C(mistral_gateway_).
      - Also C(addresses), the IP addresses of the host, and C(any_address), whether its kernel lets programs listen on
        others.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop before anything is changed
  ansible.builtin.assert:
    that: settings.errors | length == 0
    fail_msg: "{{ settings.errors | join('\n') }}"
  vars:
    settings: "{{ {'listen_address': '::', 'https_port': 443} | mistralrs.stack.gateway_settings }}"
"""

RETURN = r"""
_value:
  description:
    - C(errors), a line for each thing that is wrong; C(listen), the addresses to listen on; C(names), each server name
      once and in its one form, and C(nginx_names), the same as Nginx takes them; C(upstreams); and the numbers and the
      size by their own names.
  type: dict
"""

from collections.abc import Callable
from typing import Any


def gateway_settings(given: dict[str, Any]) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway.settings import settings

    return settings(given)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_settings": gateway_settings}
