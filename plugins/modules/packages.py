#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install or remove packages, and report which process locks them
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Runs M(ansible.builtin.apt) or M(ansible.builtin.dnf). All options except those below are passed to that module.
  - Waits for another program that installs packages, such as the automatic update of a fresh host. If that takes too
    long, the message names the program and its process.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  use:
    description: The module to run.
    type: str
    choices: [apt, dnf]
    default: apt
  lock_timeout:
    description: How many seconds to wait for another program.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Install Nginx
  mistralrs.stack.packages:
    name: nginx
    update_cache: true
    cache_valid_time: 3600
"""

RETURN = r"""
error_id:
  description: Identifies what went wrong, if another program held the lock.
  returned: failure
  type: str
  sample: packages.busy
"""
