"""Runs a Lua program in a LuaJIT library: lua_host.py LIBRARY PROGRAM ARGUMENT...

Nginx's LuaJIT (OpenResty's branch) comes as a library only. Debian's own `luajit` is older and can't be installed
beside it; it also writes wrong machine code for pairs() now and then (a pointer cut to 32 bits), and crashes there.
"""

from __future__ import annotations

import ctypes
import sys

GLOBALS = -10002
ALL_RESULTS = -1


def main(library: str, program: str, arguments: list[str]) -> int:
    # Modules in C look for the interpreter's functions among the global ones.
    lua = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    lua.luaL_newstate.restype = ctypes.c_void_p
    lua.lua_tolstring.restype = ctypes.c_char_p
    state = ctypes.c_void_p(lua.luaL_newstate())
    lua.luaL_openlibs(state)
    lua.lua_createtable(state, 0, 0)
    for number, word in enumerate([program, *arguments]):
        lua.lua_pushstring(state, word.encode())
        lua.lua_rawseti(state, -2, number)
    lua.lua_setfield(state, GLOBALS, b"arg")
    failed = lua.luaL_loadfile(state, program.encode())
    if not failed:
        for word in arguments:
            lua.lua_pushstring(state, word.encode())
        failed = lua.lua_pcall(state, len(arguments), ALL_RESULTS, 0)
    if failed:
        print(lua.lua_tolstring(state, -1, None).decode(errors="replace"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
