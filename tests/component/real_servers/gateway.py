"""The role mistral_gateway on this machine: by the real ansible-playbook and under the real Nginx, below a folder.

What stands in: systemctl (a script that starts and signals Nginx) and dpkg-query (which says that all is installed).
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from ansible_collections.mistralrs.stack.plugins.plugin_utils._distributions import row

from tests.component.gateway import software
from tests.component.real_servers.packages import ROOT, free_port

PLAN = yaml.safe_load((ROOT / "molecule" / "gateway" / "vars" / "main.yml").read_text(encoding="utf-8"))
RELEASE = row("Debian-12", "mistral_gateway") or {}
SYSTEMCTL = """#!/bin/sh
# systemctl, as far as the role and its modules ask for it.
cd {folder}
pid() {{ cat nginx.pid 2>/dev/null; }}
alive() {{ [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; }}
echo "$*" >>calls
case "$*" in
    "reload nginx")
        [ ! -e kill-at-reload ] || {{ rm kill-at-reload; kill -9 $PPID; exit 1; }}
        [ ! -e deaf ] || exit 0
        {nginx} -s reload ;;
    "start nginx") alive || {nginx} ;;
    "restart nginx") if alive; then kill "$(pid)"; while alive; do sleep 0.05; done; fi; {nginx} ;;
    is-enabled*) echo enabled ;;
    is-active*) alive && echo active || {{ echo inactive; exit 3; }} ;;
    show*)
        if alive; then state=active main=$(pid); else state=inactive main=0; fi
        echo "ActiveState=$state"; echo "MainPID=$main"
        echo LoadState=loaded; echo Id=nginx.service; echo UnitFileState=enabled ;;
esac
"""
MAIN = """{user}
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/log/error.log;
{modules}
include {folder}/nginx/modules-enabled/*.conf;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/tmp/a; proxy_temp_path {folder}/tmp/b; fastcgi_temp_path {folder}/tmp/c;
    uwsgi_temp_path {folder}/tmp/d; scgi_temp_path {folder}/tmp/e;
    access_log {folder}/log/access.log;
    include {folder}/nginx/conf.d/*.conf;
}}
"""


class Gateway:
    """A gateway below a folder, not installed yet."""

    def __init__(self, folder: Path, engine: int) -> None:
        self.folder, self.etc, self.credentials = folder, folder / "nginx", folder / "credentials"
        self.port, self.status_port = free_port(), free_port()
        for name in ("nginx/modules-enabled", "nginx/conf.d", "log", "tmp", "bin", "home"):
            (folder / name).mkdir(parents=True)
        found = software.find()
        modules = " ".join(f"load_module {path};" for path in found.modules)
        user = "user root;" if os.geteuid() == 0 else ""
        (self.etc / "nginx.conf").write_text(MAIN.format(folder=folder, modules=modules, user=user))
        # A copy of its own, which a test can replace.
        (folder / "sbin").mkdir()
        shutil.copy(found.nginx, folder / "sbin" / "nginx")
        # Where Lua's library is, if it is not installed.
        library = f"env LD_LIBRARY_PATH={found.environment.get('LD_LIBRARY_PATH', '')}"
        start = f"{library} {folder}/sbin/nginx -e {folder}/log/error.log -p {folder}"
        self.nginx = f"{start} -c {self.etc}/nginx.conf"
        self._script("systemctl", SYSTEMCTL.format(folder=folder, nginx=self.nginx))
        # The module asks the program that is on the PATH.
        self._script("nginx", f'#!/bin/sh\nexec {start} "$@"\n')
        installed = "".join(f"{name} installed\\n" for name in RELEASE["packages"])
        self._script("dpkg-query", f"#!/bin/sh\nprintf '{installed}'\n")
        self.variables: dict[str, Any] = {
            **{name: value for name, value in PLAN.items() if "queue" not in name},
            "mistral_gateway_max_concurrent_requests": 0,
            "mistral_gateway_upstreams": [f"127.0.0.1:{engine}"],
            "mistral_gateway_listen_address": "127.0.0.1",
            "mistral_gateway_https_port": self.port,
            "mistral_gateway_status_port": self.status_port,
            "mistral_gateway_server_names": ["localhost", "127.0.0.1"],
            "mistral_gateway_credentials_path": str(self.credentials),
            "__mistral_gateway_root": str(self.etc),
            "__mistral_gateway_logs": str(folder / "log"),
            "__mistral_gateway_system": str(folder / "system"),
            "__mistral_gateway_log_owner": pwd.getpwuid(os.geteuid()).pw_name,
            "__mistral_gateway_log_group": grp.getgrgid(os.getegid()).gr_name,
            "__mistral_gateway_state_path": str(folder / "state"),
            "__mistral_gateway_admin_path": str(folder / "admin"),
            "__mistral_gateway_modules": [str(path) for path in found.modules],
            "__mistral_gateway_lua_path": ";".join((f"{self.etc}/mistral/lua/?.lua", *found.lua)),
            "__mistral_gateway_distribution": {**RELEASE, "name": "Debian-12", "problem": ""},
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
        }

    def _script(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def rotate(self, name: str, ends: bool = False) -> subprocess.CompletedProcess[str]:
        """What the playbook rotate does after its preflight."""
        self.variables.update(__mistral_gateway_rotated=name, __mistral_gateway_rotation_ends=ends)
        return self.run(before={"tasks_from": "rotate.yml"}, checks=False)

    def apply(self, *arguments: str, checks: bool = False, **changed: Any) -> str:
        """Run the role, with its preflight if C(checks); what Ansible says. Raises AssertionError if it fails."""
        done = self.run(*arguments, checks=checks, **changed)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(
        self, *arguments: str, before: dict[str, str] | None = None, checks: bool = True, **changed: Any
    ) -> subprocess.CompletedProcess[str]:
        variables = {**self.variables, **{f"mistral_gateway_{name}": value for name, value in changed.items()}}
        variables["mistral_preflight_passed"] = not checks
        play: dict[str, Any] = {
            "hosts": "localhost",
            "gather_facts": True,
            "gather_subset": ["!all", "network"],
            "roles": [{"role": "mistralrs.stack.mistral_gateway"}],
        }
        if before:
            play["pre_tasks"] = [
                {"ansible.builtin.include_role": {"name": "mistralrs.stack.mistral_gateway", **before}}
            ]
        (self.folder / "play.yml").write_text(yaml.safe_dump([play]))
        (self.folder / "variables.json").write_text(json.dumps(variables))
        environment = {
            **os.environ,
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
        }
        environment["ANSIBLE_NOCOLOR"] = "1"
        command = ["ansible-playbook", "-i", "localhost,", str(self.folder / "play.yml"), *arguments]
        command += ["-e", f"@{self.folder / 'variables.json'}"]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    def environment(self) -> dict[str, str]:
        """The stand-ins come first on the path."""
        return {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"} if key != "" else {}
        url = f"https://localhost:{self.port}"
        return httpx.Client(base_url=url, verify=self.trust(), headers=headers, timeout=30, trust_env=False)

    def tested(self) -> str:
        """What Nginx has against the configuration that lies there; '' if nothing."""
        done = subprocess.run(f"{self.nginx} -t -q", shell=True, check=False, capture_output=True, text=True)
        return done.stderr if done.returncode else ""

    def workers(self) -> list[int]:
        """The processes that answer."""
        children = Path(f"/proc/{self.pid()}/task/{self.pid()}/children").read_text()
        return [int(pid) for pid in children.split()]

    def memory(self) -> int:
        """What the workers have in memory, in MiB."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.workers()]
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts) // 1024

    @property
    def key(self) -> str:
        return (self.credentials / "api-key-default").read_text().strip()

    def owned(self) -> list[str]:
        """The files of the role, below its folder."""
        paths = [path for path in self.etc.rglob("*") if path.is_file() and path.name != "loaded.conf"]
        paths = [path for path in paths if not path.name.startswith(".")]
        return sorted(str(path.relative_to(self.etc)) for path in paths)

    def module(self, name: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
        """Run one module as Ansible does, in a process of its own."""
        arguments = {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": str(self.folder / "tmp")}
        code = (
            f"from ansible.module_utils.testing import patch_module_args\n"
            f"from ansible_collections.mistralrs.stack.plugins.modules import {name}\n"
            f"import json, sys\n"
            f"with patch_module_args(json.loads(sys.argv[1])):\n    {name}.main()\n"
        )
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        environment["PYTHONPATH"] = str(ROOT / ".cache" / "collections")
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode in (0, 1), f"ended with {done.returncode}: {done.stderr}"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def authority(self, folder: Path) -> None:
        """Make leaf.pem for localhost, leaf.key and issuer.pem, whose private key is thrown away."""

        def openssl(words: str, **given: Any) -> None:
            subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True, **given)

        new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        usage = "-addext keyUsage=critical,keyCertSign"
        openssl(f"req -x509 {new} -keyout issuer.key -out issuer.pem -subj /CN=issuer -days 30 {usage}")
        openssl(f"req {new} -keyout leaf.key -out leaf.csr -subj /CN=localhost")
        (folder / "names").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
        openssl("x509 -req -in leaf.csr -CA issuer.pem -CAkey issuer.key -days 20 -extfile names -out leaf.pem")

    def client_certificate(self, folder: Path, name: str, issuer: str = "issuer") -> tuple[str, str]:
        """A client's certificate and its key, signed by an authority of the folder, which is made if it is missing."""

        def openssl(words: str) -> None:
            subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)

        new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        if not (folder / f"{issuer}.pem").exists():
            openssl(f"req -x509 {new} -keyout {issuer}.key -out {issuer}.pem -subj /CN={issuer} -days 30")
        openssl(f"req {new} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        openssl(
            f"x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days 20 -out {name}.pem"
        )
        return str(folder / f"{name}.pem"), str(folder / f"{name}.key")

    def new_key(self) -> str:
        """A private key that belongs to no certificate."""
        command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def pid(self) -> int:
        return int((self.folder / "nginx.pid").read_text())

    def calls(self) -> list[str]:
        """What systemctl was asked to do since the last time."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return [line for line in lines if line.split()[0] in ("start", "restart", "reload")]

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.credentials / "ca.pem"))

    def connect(self) -> ssl.SSLSocket:
        """A connection of a client that trusts what it was given."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.trust().wrap_socket(connection, server_hostname="localhost")

    def stop(self) -> None:
        if shutil.which("systemctl") is None or (self.folder / "nginx.pid").exists():
            subprocess.run(f"{self.nginx} -s stop", shell=True, check=False, capture_output=True)
            for _attempt in range(100):
                if not (self.folder / "nginx.pid").exists():
                    return
                time.sleep(0.05)
