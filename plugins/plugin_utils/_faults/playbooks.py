# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks refuse: the inventory, the controller and what was asked for.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "models.arguments",
        "The variables that were given with -e do not go together.",
        "Give -e models_name=NAME, with -e models_state=present, verified or absent; or -e models_search=WORDS; or "
        "-e models_convert=DIRECTORY with -e models_name=NAME and -e models_quantization=TYPE alone; or none of them "
        "to list the stores.",
    ),
    Fault(
        "models.overridden",
        "'mistral_models' was also given with -e and would override -e models_name={name}.",
        "Leave it out, or put it into the inventory.",
    ),
    Fault(
        "plan.no_hosts",
        "There are no GPUs to plan for: the inventory has no host in the group gpu_hosts.",
        "Give an inventory with -i, or the GPUs that you think of: -e gpu_memory=80GiB or -e gpu=L40S, and -e gpus=2 "
        "for two in each host.",
    ),
    Fault(
        "migrate.arguments",
        "It was not said what is migrated: {what}.",
        "Give --tags compose -e migrate_from=DIRECTORY-OF-THE-STACK (on the host) -e migrate_to=NEW-INVENTORY (here).",
    ),
    Fault(
        "migrate.one_host",
        "The inventory has {count} hosts, but a stack is on one.",
        "Give -i 'HOST,' (with the comma), or -e migrate_host=NAME.",
    ),
    Fault(
        "migrate.target_not_empty",
        "The folder {path} is not empty, so no inventory is written there.",
        "Give a new folder with -e migrate_to=PATH.",
    ),
    Fault(
        "migrate.nothing_found",
        "There is neither an .env nor a config.yml of the stack in {path} of {host}.",
        "Give the directory in which the stack is started, or the file's own path with -e migrate_config=PATH.",
    ),
    Fault(
        "controller.ansible_too_old",
        "This collection needs ansible-core 2.19 or newer, but the controller has {version}.",
        "Install a newer one, which needs Python 3.11 or newer.",
    ),
    Fault(
        "inventory.group_empty",
        "The inventory has no host in the group {group}.",
        "Put at least one host into each of the groups gpu_hosts and gateways; inventories/single of the collection "
        "shows how.",
    ),
    Fault(
        "inventory.not_root",
        "The tasks on {host} do not run as root.",
        "Set 'ansible_user' to a user that may use sudo, and give its password with -K if it needs one.",
    ),
    Fault(
        "inventory.limit_without_engines",
        "The gateway is set up from the engines' settings, and --limit leaves out {hosts}.",
        "Add gpu_hosts to --limit.",
    ),
    Fault(
        "packages.lists_missing",
        "The package lists of {host} are missing and cannot be fetched: {reason}.",
        "Correct the sources below /etc/apt of the host, or let it reach them.",
    ),
)
