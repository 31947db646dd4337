"""The real apt, on hosts and repositories that exist only as folders: what would be done, and every refusal by its id.

The packages have the names of Debian 13's driver; what they depend on and how big they are is made up.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.filter.driver_choice import FilterModule
from ansible_collections.mistralrs.stack.plugins.module_utils._driver import apt, installation
from ansible_collections.mistralrs.stack.plugins.modules import driver_packages_info

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt, of Debian or Ubuntu")

KERNEL = "6.12.117+deb13-amd64"
NEWER_KERNEL = "6.12.118+deb13-amd64"
FACTS = {
    "distribution": "Debian",
    "distribution_version": "13.8",
    "distribution_major_version": "13",
    "architecture": "x86_64",
}
HEADERS = f"linux-headers-{KERNEL}"
LIBRARIES = ("nvidia-smi", "libcuda1", "libnvidia-ptxjitcompiler1")
OLD, NEW, TESLA = "550.90.07-1", "550.163.01-2", "535.274.02-1~deb13u1"


class Deb(NamedTuple):
    """A package: C(fields) are further ones of its entry, as Depends."""

    name: str
    version: str = "1"
    fields: Mapping[str, str] = {}

    def entry(self, **more: str) -> str:
        words = {"Package": self.name, "Version": self.version, "Architecture": "amd64", "Maintainer": "a test"}
        words |= {"Description": "stands for one", "Installed-Size": "1000", **self.fields, **more}
        return "".join(f"{name}: {value}\n" for name, value in words.items()) + "\n"


def driver(version: str, kernel: str = "nvidia-kernel-dkms", **fields: str) -> list[Deb]:
    return [
        Deb(kernel, version, {"Depends": "dkms", "Installed-Size": "400000", **fields}),
        *(Deb(name, version) for name in LIBRARIES),
    ]


def tesla(version: str = TESLA) -> list[Deb]:
    names = ("nvidia-tesla-535-smi", "libnvidia-tesla-535-cuda1", "libnvidia-tesla-535-ptxjitcompiler1")
    kernel = Deb("nvidia-tesla-535-kernel-dkms", version, {"Depends": "dkms"})
    return [kernel, *(Deb(name, version) for name in (*names, "libnvidia-tesla-535-cfg1"))]


PERSISTENCED = Deb("nvidia-persistenced", "550.163.01-1")
MAIN = [
    Deb("dkms", "3.2.2"),
    Deb("linux-base", "4"),
    Deb(HEADERS, "6.12.117-1"),
    Deb("linux-headers-amd64", "6.12.117-1", {"Depends": HEADERS}),
]
KERNELS = [{"release": KERNEL, "headers": True, "module": False, "running": True}]
BARE = (Deb("base-files", "13"), Deb(HEADERS, "6.12.117-1"), Deb("linux-headers-amd64", "6.12.117-1"))
INSTALLED = [*BARE, Deb("dkms", "3.2.2"), *driver(NEW), PERSISTENCED]

Run = Callable[..., dict[str, Any]]


def write_archive(root: Path, components: Mapping[str, Sequence[Deb]]) -> None:
    """A repository of one suite, trixie, with the origin Debian."""
    suite = root / "dists" / "trixie"
    sums = []
    for component, packages in components.items():
        place = f"{component}/binary-amd64/Packages"
        text = "".join(
            one.entry(Filename=f"pool/{one.name}.deb", Size="20000000", SHA256="0" * 64) for one in packages
        ).encode()
        (suite / place).parent.mkdir(parents=True, exist_ok=True)
        (suite / place).write_bytes(text)
        sums.append(f" {hashlib.sha256(text).hexdigest()} {len(text)} {place}\n")
    head = "Origin: Debian\nSuite: stable\nCodename: trixie\nArchitectures: amd64\n"
    date = "Date: Sat, 01 Nov 2025 00:00:00 UTC\n"
    names = f"Components: {' '.join(components)}\n"
    (suite / "Release").write_text(f"{head}{names}{date}SHA256:\n{''.join(sums)}")


def state_of(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls the module on a host with these packages, which knows of an archive that offers these others."""
    host, archive = tmp_path / "host", tmp_path / "debian"

    def call(
        installed: Sequence[Deb] = BARE,
        offered: Sequence[Deb] = (),
        held: Sequence[str] = (),
        unfinished: Sequence[str] = (),
        wanted: Mapping[str, Any] | None = None,
        line: str = "deb file:{archive} trixie main",
        unsigned: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        for folder in (
            "etc/apt/sources.list.d",
            "etc/apt/preferences.d",
            "etc/apt/trusted.gpg.d",
            "etc/apt/apt.conf.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/info",
        ):
            (host / folder).mkdir(parents=True, exist_ok=True)
        entries = []
        for one in installed:
            want = "hold" if one.name in held else "install"
            entries.append(
                one.entry(Status=f"{want} ok {'half-configured' if one.name in unfinished else 'installed'}")
            )
        (host / "var/lib/dpkg/status").write_text("".join(entries))
        free = offered or [*driver(NEW), *driver(OLD), *tesla()]
        write_archive(archive, {"main": MAIN, "contrib": [PERSISTENCED], "non-free": free, "non-free-firmware": []})
        (host / "etc/apt/sources.list").write_text(line.format(archive=archive) + "\n")
        (tmp_path / "apt.conf").write_text(
            f'Dir "{host}";\nDir::State::status "{host}/var/lib/dpkg/status";\n'
            'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; };\nAcquire::Retries "0";\n'
            f'Acquire::AllowInsecureRepositories "{unsigned}";\nAPT::Get::AllowUnauthenticated "{unsigned}";\n'
        )
        # How apt and dpkg are shown another host than the one they run on.
        monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
        monkeypatch.setenv("DPKG_ADMINDIR", str(host / "var/lib/dpkg"))
        monkeypatch.setattr(apt, "LISTS", str(host / "var/lib/apt/lists"))
        arguments = {
            "choice": FilterModule().filters()["driver_choice"](FACTS, source="distribution", **(wanted or {})),
            "kernels": KERNELS,
            "kernel": KERNEL,
            "codename": "trixie",
            "sources_file": str(host / "etc/apt/sources.list.d/mistral-nvidia-driver.sources"),
            "preferences_file": str(host / "etc/apt/preferences.d/mistral-nvidia-driver"),
            "_ansible_remote_tmp": str(tmp_path),
            **options,
        }
        before = state_of(host)
        with patch_module_args(arguments), pytest.raises(SystemExit):
            driver_packages_info.main()
        assert state_of(host) == before
        result = dict(json.loads(capsys.readouterr().out))
        result.pop("invocation", None)
        return result

    return call


def test_installation_on_a_bare_host(run: Run, tmp_path: Path) -> None:
    result = run()
    assert result.get("msg") is None
    assert (result["needed"], result["changed"], result["version"], result["former"]) == (True, False, "550.163.01", "")
    assert set(result["new"]) == {"nvidia-kernel-dkms", *LIBRARIES, "nvidia-persistenced", "dkms"}
    assert {result["new"][name] for name in LIBRARIES} == {NEW}
    assert (result["upgraded"], result["removed"], result["former_packages"]) == ({}, [], [])
    assert result["download"] == 6 * 20_000_000
    assert "install" in result["arguments"]
    assert f"nvidia-kernel-dkms={NEW}" in result["arguments"]
    assert "Pin: version 550.163.01-*" in result["preferences"]
    assert f"URIs: file:{tmp_path}/debian" in result["sources"]
    assert "Components: contrib non-free non-free-firmware" in result["sources"]


def test_documented_is_what_is_returned(run: Run) -> None:
    documented = set(yaml.safe_load(driver_packages_info.RETURN)) - {"error_id"}
    assert set(run()) - {"changed"} == documented
    assert set(run(state="absent")) - {"changed"} == documented


def test_a_complete_driver_is_left_alone(run: Run) -> None:
    names = ["libcuda1", "libnvidia-ptxjitcompiler1", "nvidia-kernel-dkms", "nvidia-persistenced", "nvidia-smi"]
    result = run(INSTALLED, held=names)
    assert (result["needed"], result["version"], result["former"]) == (False, "550.163.01", "550.163.01")
    assert (result["held"], result["unheld"]) == (names, [])
    assert run(INSTALLED, held=names[1:])["unheld"] == ["libcuda1"]


def test_without_a_wish_the_version_that_is_there_stays(run: Run) -> None:
    older = [*BARE, Deb("dkms", "3.2.2"), *driver(OLD), PERSISTENCED]
    assert run(older)["needed"] is False
    assert run(older)["version"] == "550.90.07"


def test_what_is_missing_comes_in_the_version_that_is_there(run: Run) -> None:
    older = [*BARE, Deb("dkms", "3.2.2"), *driver(OLD)[:-1]]
    result = run(older)
    assert result["new"] == {"libnvidia-ptxjitcompiler1": OLD, "nvidia-persistenced": PERSISTENCED.version}
    assert result["upgraded"] == {}


@pytest.mark.parametrize(
    ("there", "wanted", "comes"), [(OLD, "550.163.01", NEW), (NEW, "550.90.07", OLD), (NEW, "550.90.07-1", OLD)]
)
def test_another_version_moves_held_packages_too(run: Run, there: str, wanted: str, comes: str) -> None:
    names = ["nvidia-kernel-dkms", *LIBRARIES]
    host = [*BARE, Deb("dkms", "3.2.2"), *driver(there), PERSISTENCED]
    result = run(host, held=names, wanted={"version": wanted})
    assert result["upgraded"] == dict.fromkeys(names, comes)
    assert result["former"] == there.split("-")[0]
    assert set(result["former_packages"]) == {
        *(f"{name}={there}" for name in names),
        f"nvidia-persistenced={PERSISTENCED.version}",
    }


def test_another_branch_replaces_the_first_in_one_transaction(run: Run) -> None:
    result = run(INSTALLED, wanted={"branch": "535"})
    assert set(result["removed"]) == {"nvidia-kernel-dkms", *LIBRARIES}
    assert {f"{name}-" for name in result["removed"]} <= set(result["arguments"])
    assert set(result["new"]) == {one.name for one in tesla()}
    assert (result["former"], result["version"]) == ("550.163.01", TESLA.partition("-")[0])


def test_headers_of_the_running_and_the_newest_kernel(run: Run) -> None:
    host = [Deb("base-files", "13")]
    kernels = [{**KERNELS[0], "headers": False}]
    assert run(host, kernels=kernels)["new"][HEADERS] == "6.12.117-1"
    # A kernel that is not the host's own does not count where an image is built.
    assert run(host, kernels=kernels, kernel="6.18.1", force=True)["new"][HEADERS] == "6.12.117-1"


def test_without_a_kernel_the_headers_may_bring_one(run: Run) -> None:
    image = f"linux-image-{NEWER_KERNEL}"
    headers = Deb("linux-headers-amd64", "6.12.118-1", {"Depends": image})
    result = run([Deb("base-files", "13")], [*driver(NEW), headers, Deb(image, "6.12.118-1")], kernels=[], force=True)
    assert result["new"][image] == "6.12.118-1"
    assert result["notes"] == [f"the headers bring the kernel {image} with them"]


def test_removal(run: Run) -> None:
    result = run([*INSTALLED, Deb("glx-diversions")], state="absent", held=LIBRARIES)
    assert set(result["removed"]) == {"nvidia-kernel-dkms", *LIBRARIES, "nvidia-persistenced", "glx-diversions"}
    assert result["needed"] is True
    assert result["held"] == sorted(LIBRARIES)
    assert run(state="absent")["needed"] is False


NEW_IMAGE = f"linux-image-{NEWER_KERNEL}"
UNMET = driver(NEW, Depends="dkms, nvidia-firmware-that-is-nowhere")
WITH_A_KERNEL = [*driver(NEW, Depends=f"dkms, {NEW_IMAGE}"), Deb(NEW_IMAGE, "6.12.118-1")]
UPGRADED_KERNEL = [
    *driver(NEW, Depends="dkms, linux-image-amd64 (>= 6.12.118)"),
    Deb("linux-image-amd64", "6.12.118-1"),
]
NO_SECOND_DRIVER = driver(NEW, Conflicts="docker.io")
NEEDS_LIBRARY = Deb("nvtop", "3", {"Depends": "libcuda1"})

REFUSALS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "a kernel that would come": ({"offered": WITH_A_KERNEL}, "driver.kernel_would_change", ["install", NEW_IMAGE]),
    "a kernel that would be upgraded": (
        {"offered": UPGRADED_KERNEL, "installed": [*BARE, Deb("linux-image-amd64", "6.12.117-1")]},
        "driver.kernel_would_change",
        ["upgrade", "linux-image-amd64"],
    ),
    "a package of the user's that would go": (
        {"offered": NO_SECOND_DRIVER, "installed": [*BARE, Deb("docker.io", "26.1.5")]},
        "driver.packages_in_the_way",
        ["docker.io"],
    ),
    "a program that needs the driver that is to go": (
        {"installed": [*INSTALLED, NEEDS_LIBRARY], "state": "absent"},
        "driver.packages_in_the_way",
        ["nvtop"],
    ),
    "a package that needs what is nowhere": (
        {"offered": UNMET},
        "driver.packages_unmet",
        ["nvidia-firmware-that-is-nowhere", "apt-get --simulate"],
    ),
    "more than the disk has": (
        {"offered": driver(NEW, **{"Installed-Size": "9000000000000"})},
        "driver.disk_full",
        ["MB of free space"],
    ),
    "a version that is nowhere": (
        {"wanted": {"version": "550.1.1"}},
        "driver.version_unavailable",
        ["550.1.1", f"{NEW}, {OLD}"],
    ),
    "a running kernel without headers": (
        {"kernel": "6.12.9-foreign"},
        "driver.headers_unavailable",
        ["6.12.9-foreign", "linux-headers-6.12.9-foreign"],
    ),
    "a repository that does not answer": (
        {"sources": "Types: deb\nURIs: http://127.0.0.1:9/\nSuites: x/\nTrusted: yes\n"},
        "driver.repository_unreachable",
        ["127.0.0.1:9"],
    ),
    "a repository that is not signed": (
        {"unsigned": False},
        "driver.repository_unreachable",
        ["not signed"],
    ),
    "a host without its distribution's archive": (
        {"line": "# nothing"},
        "driver.no_package_source",
        ["Debian", "trixie", "'nvidia_driver_sources'"],
    ),
    "packages of the other source": (
        {"installed": [*BARE, Deb("nvidia-driver-cuda", "595.91.07-1")]},
        "driver.sources_mixed",
        ["nvidia-driver-cuda", "'distribution'"],
    ),
    "an installation that was cut off": (
        {"installed": [*BARE, Deb("unfinished")], "unfinished": ["unfinished"]},
        "driver.packages_broken",
        ["dpkg left unfinished half-configured", "dpkg --configure -a"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refused(run: Run, name: str) -> None:
    options, error_id, words = REFUSALS[name]
    result = run(**options)
    assert result["failed"] is True
    assert result["error_id"] == error_id, result
    assert result["msg"].endswith(f" [{error_id}]")
    for word in words:
        assert word in result["msg"], result["msg"]


def test_driver_of_the_run_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-uninstall"
    program.touch()
    monkeypatch.setattr(installation, "UNINSTALLERS", (str(program),))
    result = run()
    assert result["error_id"] == "driver.runfile_installed"
    assert str(program) in result["msg"]
