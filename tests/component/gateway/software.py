"""Nginx with its Lua module: the installed one, else out of Debian's packages without installing them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.component.real_servers import packages

MODULES = Path("/usr/lib/nginx/modules")
NDK, LUA = "ndk_http_module.so", "ngx_http_lua_module.so"
# OpenResty's LuaJIT, as Debian 12 and newer releases call it.
LUAJIT = ("libluajit2-5.1-2", "libluajit-5.1-2")
# Debian 12's Lua module uses it; Nginx itself and newer releases have its successor.
PCRE = "libpcre3"


class Software(NamedTuple):
    """A program, its modules in the order in which they are loaded, folders of Lua modules, its environment."""

    nginx: str
    modules: tuple[Path, ...]
    lua: tuple[str, ...]
    environment: dict[str, str]


def _tree(package: str) -> Path | None:
    """The files of a package; None where the distribution does not have it."""
    try:
        return packages.unpacked(package)
    except subprocess.CalledProcessError:
        return None


def _libraries() -> list[str]:
    """Where the libraries of the Lua module are."""
    luajit = [tree for tree in map(_tree, LUAJIT) if tree][:1]
    if not luajit:
        raise RuntimeError(f"none of the packages {', '.join(LUAJIT)} is to be had")
    trees = [*luajit, *filter(None, [_tree(PCRE)])]
    return sorted({str(path.parent) for tree in trees for path in tree.rglob("*.so.*")})


def find(installed: bool | None = None) -> Software:
    """What the tests run. `installed`: whether to take this machine's own; None: if it is there."""
    if installed is None:
        installed = (MODULES / LUA).exists()
    if installed:
        return Software(packages.needed("nginx", "nginx"), (MODULES / NDK, MODULES / LUA), (), dict(os.environ))
    program = packages.needed("nginx", "nginx")
    names = ("libnginx-mod-http-ndk", "libnginx-mod-http-lua", "lua-resty-core", "lua-resty-lrucache")
    trees = {name: packages.unpacked(name) for name in names}
    return Software(
        program,
        (
            next(trees["libnginx-mod-http-ndk"].rglob(NDK)),
            next(trees["libnginx-mod-http-lua"].rglob(LUA)),
        ),
        tuple(str(trees[name] / "usr/share/lua/5.1/?.lua") for name in names[2:]),
        {**os.environ, "LD_LIBRARY_PATH": ":".join(_libraries())},
    )


def find_or_skip() -> Software:
    """The same; a test is skipped where it can't be had, which is a failure in CI."""
    try:
        return find()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        why = f"Nginx with its Lua module can't be had: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
