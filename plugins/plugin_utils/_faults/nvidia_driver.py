# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role nvidia_driver refuses and reports, besides what the driver's plan checks.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "driver.batch_invalid",
        "'nvidia_driver_batch' of {host} is '{value}', which is neither a number of hosts nor a share of them.",
        "Give a number, for example 5, or a share, for example 10%.",
    ),
    Fault(
        "driver.existing_not_working",
        "'nvidia_driver_state' of {host} is 'existing', but its driver does not run the GPUs: {problem}",
        "Repair it, or set 'nvidia_driver_state: present' to have the role install one.",
    ),
    Fault(
        "driver.reboot_of_controller",
        "'nvidia_driver_reboot' is set, and {host} is the machine that runs Ansible, which would be rebooted in the "
        "middle of the run.",
        "Leave it unset and reboot by hand, or run Ansible from another machine.",
    ),
    Fault(
        "driver.power_limit_out_of_range",
        "'nvidia_driver_power_limit' is {limit} W, but GPU {gpu} ({name}) accepts {lowest} to {highest} W.",
        "Choose a value in between.",
    ),
    Fault(
        "driver.mig_impossible",
        "'nvidia_driver_mig' partitions GPU {gpu}, but {host} has no GPU with that number that can be partitioned.",
        "Correct the number or leave the entry out.",
    ),
    Fault(
        "driver.secure_boot_not_enrolled",
        "Secure Boot is enabled on {host}, but its firmware does not know the key that DKMS signs modules with, so the "
        "kernel would refuse the driver.",
        "Install mokutil and dkms, run 'dkms generate_mok' and 'mokutil --import /var/lib/dkms/mok.pub', reboot, "
        "confirm the key at the console (Enroll MOK) and run again, or switch Secure Boot off.",
    ),
    Fault(
        "driver.install_failed",
        "{host}: the driver {version} could not be installed: {reason} {recovery}.",
        "Choose another 'nvidia_driver_version', 'nvidia_driver_modules' or 'nvidia_driver_source', or repair what is "
        "named.",
    ),
    Fault(
        "driver.remove_failed",
        "{host}: the driver could not be removed: {reason}",
        "Repair what that names and run again.",
    ),
    Fault(
        "driver.reboot_needed",
        "{host} needs a reboot: the driver {version} is installed, and {state}.",
        "Set 'nvidia_driver_reboot: true' to have the role reboot it, one batch of hosts after the other, or reboot it "
        "yourself and run again.",
    ),
    Fault(
        "driver.service_not_started",
        "The service {unit} on {host} cannot be started or stopped: {reason}",
        "See 'journalctl --unit {unit}' on the host, repair what it names and run again.",
    ),
    Fault(
        "driver.not_working",
        "{host}: the driver {version} does not run all GPUs: {problem}",
        "Repair what that names ('dmesg' on the host has more) and run again.",
    ),
    Fault(
        "driver.module_missing",
        "{host}: the driver {version} has no kernel module for {kernels}: {problem}",
        "Repair what that names ('dkms autoinstall' on the host builds the modules) and run again.",
    ),
)
