#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: engine_container_info
short_description: Gather facts about the engine's container, its port and its network
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Finds out what listens on the port that the engine's container is to publish, whether the container can be started,
    and whether the firewall rule against connections from it is in force.
  - Docker and iptables need not be installed.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Nothing is ever changed.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  container:
    description: The name of the container.
    type: str
    default: mistral-engine
  image:
    description: The image that it is made from.
    type: str
    required: true
  compose_file:
    description: The Compose file that defines it.
    type: path
    default: /etc/mistral/compose.yml
  address:
    description: The address of the host on which it publishes its port.
    type: str
    required: true
  port:
    description: The port.
    type: int
    required: true
  egress_unit:
    description: The unit that sets the firewall rule, with C(.service).
    type: str
    required: true
  egress_rule:
    description: The rule in the table C(mangle), as arguments of iptables, beginning with the chain.
    type: str
    required: true
  former_network:
    description: The name of the network that an earlier release created.
    type: str
    required: true
  replaces:
    description: The name of a container that gives way to this one, so that it may have the port until then.
    type: str
    default: ""
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Gather facts about the engine's container
  mistralrs.stack.engine_container_info:
    image: mistralrs-stack/engine:0.9.2
    address: 127.0.0.1
    port: 11434
    egress_unit: mistral-egress.service
    egress_rule: PREROUTING -i mistral0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP
    former_network: mistral_default
  register: result
"""

RETURN = r"""
engine_container:
  description: The facts.
  returned: success
  type: dict
  contains:
    port_holders:
      description: What else uses the port, such as V(nginx (process 42\)) or V(the container web).
      type: list
      elements: str
    can_start:
      description: Whether its image and its Compose file exist.
      type: bool
    egress:
      description:
        - V(closed) if the rule is in force and set at every boot, V(open) if it is not, V(none) if the unit does not
          exist.
      type: str
    replaced_runs:
      description: Whether O(replaces) runs.
      type: bool
    has_former_network:
      description: Whether the network of an earlier release exists and nothing else uses it.
      type: bool
  sample:
    port_holders: []
    can_start: true
    egress: closed
    replaced_runs: false
    has_former_network: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.container_facts import Wanted, gather
from ansible_collections.mistralrs.stack.plugins.module_utils._module import program_runner


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "default": "mistral-engine"},
            "image": {"type": "str", "required": True},
            "compose_file": {"type": "path", "default": "/etc/mistral/compose.yml"},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "egress_unit": {"type": "str", "required": True},
            "egress_rule": {"type": "str", "required": True},
            "former_network": {"type": "str", "required": True},
            "replaces": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = Wanted(**module.params)
    module.exit_json(changed=False, engine_container=gather(program_runner(module), wanted))


if __name__ == "__main__":
    main()
