-- The gateway's Lua runs in Nginx's LuaJIT; its pure modules know nothing of Nginx.
std = "ngx_lua"
max_line_length = 130
-- An empty branch says in a comment why nothing is done.
ignore = {"542"}
files["tests/unit/**/*_spec.lua"] = {std = "+busted", max_line_length = 180}
