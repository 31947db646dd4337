"""The texts of the package source and of the pin."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_files import preferences_text, sources_text
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import parse_sources
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

INDEX = """\
http://mirror.example/debian/\tbookworm\tmain\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list:1
http://mirror.example/debian/\tbookworm\tnon-free-firmware\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list:1
http://mirror.example/debian/\tbookworm-backports\tmain\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list:2
http://mirror.example/security/\tbookworm-security\tmain\tDebian\t/usr/share/keyrings/a.gpg\t/etc/apt/sources.list.d/s.sources:1
https://apt.example.com/\tbookworm\tmain\tArtifactory\t$(SIGNED_BY)\t/etc/apt/sources.list.d/x.list:1
http://mirror.example/debian/\tbookworm\tnon-free\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list.d/mine.sources:2
"""


def test_components_come_from_the_hosts_own_mirrors() -> None:
    own = "/etc/apt/sources.list.d/mine.sources"
    text = sources_text(parse_sources(INDEX), "Debian", "bookworm", ["non-free", "non-free-firmware"], own)
    assert text == (
        "# Written by the Ansible role nvidia_driver.\n"
        "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\nComponents: non-free\n\n"
        "Types: deb\nURIs: http://mirror.example/security/\nSuites: bookworm-security\n"
        "Components: non-free non-free-firmware\nSigned-By: /usr/share/keyrings/a.gpg\n"
    )


def test_a_host_that_has_all_components_gets_no_source() -> None:
    assert sources_text(parse_sources(INDEX), "Debian", "bookworm", ["main"], "/x") == ""


def test_a_host_without_its_distributions_archive() -> None:
    with pytest.raises(StackError, match=r"trixie.*\[driver.no_package_source\]"):
        sources_text(parse_sources(INDEX), "Debian", "trixie", ["non-free"], "/x")


@pytest.mark.parametrize(("version", "pin"), [("550.163.01", "550.163.01-*"), ("550.163.01-2", "550.163.01-2")])
def test_pin(version: str, pin: str) -> None:
    assert f"Pin: version {pin}\nPin-Priority: 1001\n" in preferences_text(version)
