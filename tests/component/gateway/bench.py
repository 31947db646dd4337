#!/usr/bin/env python3
"""What the gateway costs: requests/s and processor time of a bare proxy and of the gateway, side by side, with wrk.

    python -m tests.component.gateway.bench [--seconds 5] [--rounds 3] [--upstream-us 100] [--events 1000] [--litellm]

The engine is another Nginx that is busy for `--upstream-us` with each request and then gives a recorded answer.
Streams: 50 at once, each event of its own. The processor time is the gateway's; a busy machine stretches it, so the
load is printed. With `--litellm` LiteLLM's proxy, which pip installs into `.cache/`, is asked for the same answers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.component.gateway import litellm_proxy
from tests.component.gateway.counting_engine import RECORDED
from tests.component.gateway.nginx_host import Gateway, chat, free_ports, key, plan, wait_until
from tests.component.gateway.software import find

ENGINE = """
@MODULES@
worker_processes 1;
pid @PREFIX@/engine.pid;
error_log @PREFIX@/engine.log;
events { worker_connections 4000; }
http {
    access_log off;
    keepalive_requests 10000000;
    client_body_temp_path @PREFIX@/body;
    proxy_temp_path @PREFIX@/proxy;
    fastcgi_temp_path @PREFIX@/fastcgi;
    uwsgi_temp_path @PREFIX@/uwsgi;
    scgi_temp_path @PREFIX@/scgi;
    lua_package_path '@LUA@;;';
    init_by_lua_block {
        local function read(name)
            local file = assert(io.open("@PREFIX@/" .. name, "rb"))
            local text = file:read("*a")
            file:close()
            return text
        end
        ANSWER, EVENT, LAST = read("answer"), read("event"), read("last")
        CLOCK = require("ffi")
        CLOCK.cdef "typedef struct { long s, ns; } clock_value; int clock_gettime(int id, clock_value *out);"
    }
    server {
        listen 127.0.0.1:@PORT@;
        location /health { return 200 ok; }
        location / {
            client_body_buffer_size 50m;
            client_max_body_size 50m;
            content_by_lua_block {
                ngx.req.read_body()
                local text = ngx.req.get_body_data() or ""
                if text:find('"stream":true', 1, true) then
                    ngx.header["Content-Type"] = "text/event-stream"
                    for _ = 1, @EVENTS@ do
                        ngx.print(EVENT)
                        ngx.flush(true)
                        if @PAUSE@ > 0 then ngx.sleep(@PAUSE@) end
                    end
                    return ngx.print(LAST)
                end
                local value = CLOCK.new("clock_value")
                CLOCK.C.clock_gettime(1, value)
                local ends = tonumber(value.s) * 1e6 + tonumber(value.ns) / 1e3 + @BUSY@
                repeat
                    CLOCK.C.clock_gettime(1, value)
                until tonumber(value.s) * 1e6 + tonumber(value.ns) / 1e3 >= ends
                ngx.header["Content-Type"] = "application/json"
                ngx.header["Content-Length"] = #ANSWER
                ngx.print(ANSWER)
            }
        }
    }
}
"""


def processor_seconds(pids: list[int]) -> float:
    """By the scheduler's own count: that of ticks misses processes that run for less than one."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def numbers(pattern: str, text: str) -> list[int]:
    found = re.search(pattern, text)
    return [int(word) for word in found[1].split()] if found else []


def memory_kib(pids: list[int]) -> int:
    return sum(numbers(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0] for pid in pids)


def start_engine(folder: Path, busy: int, events: int, pause: float) -> tuple[subprocess.Popen[bytes], int]:
    (port,) = free_ports(1)
    (folder / "answer").write_text(RECORDED["chat"].response.body)
    recorded = RECORDED["chat_stream"].response.events or ()
    (folder / "event").write_text(recorded[0])
    (folder / "last").write_text("".join(recorded[-2:]))
    text = ENGINE
    software = find()
    modules = "\n".join(f"load_module {path};" for path in software.modules)
    lua = ";".join(software.lua)
    values = {
        "MODULES": modules,
        "LUA": lua,
        "PREFIX": folder,
        "PORT": port,
        "BUSY": busy,
        "EVENTS": events,
        "PAUSE": pause,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    (folder / "engine.conf").write_text(text)
    command = [software.nginx, "-p", str(folder), "-c", str(folder / "engine.conf"), "-g", "daemon off;"]
    process = subprocess.Popen(command, env=software.environment)
    wait_until(lambda: (folder / "engine.pid").exists())
    return process, port


def wrk(port: int, body: str, folder: Path, connections: int, seconds: float) -> dict[str, float]:
    script = folder / "request.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Authorization"] = "Bearer sk-alice"\n'
        f'wrk.headers["Content-Type"] = "application/json"\nwrk.body = [==[{body}]==]\n'
        "done = function(summary, latency) io.write(string.format('RESULT %d %d %d %d %d\\n', summary.requests,"
        " summary.duration, latency:percentile(50), latency:percentile(99), summary.errors.status)) end\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{int(seconds) or 1}s", "--timeout", "60s", "-s", str(script)]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/v1/chat/completions"], capture_output=True, text=True, check=True
    ).stdout
    requests, duration, median, late, errors = numbers(r"RESULT (.*)", output)
    if errors:
        raise SystemExit(f"{errors} requests were refused")
    return {"rps": requests / duration * 1e6, "p50": median / 1e3, "p99": late / 1e3, "requests": requests}


def whole_answers(gateway: Gateway, folder: Path, rounds: int, seconds: float) -> None:
    body = json.dumps(chat("What is the capital of France? Answer in one short sentence. " * 6, max_tokens=24))
    print(
        f"{len(body)} bytes of a request, {rounds} rounds of {seconds} s, medians; processor: of the gateway's process"
    )
    print(f"{'connections':>11} {'':8} {'requests/s':>10} {'ratio':>6} {'us/request':>10} {'p50 ms':>7} {'p99 ms':>7}")
    pids = gateway.worker_pids()
    for port in (gateway.bare_port, gateway.port):
        wrk(port, body, folder, 8, 2)
    for connections in (1, 32):
        found: dict[str, list[dict[str, float]]] = {"bare": [], "gateway": []}
        for _ in range(rounds):
            for name, port in (("bare", gateway.bare_port), ("gateway", gateway.port)):
                before = processor_seconds(pids)
                result = wrk(port, body, folder, connections, seconds)
                result["cpu"] = (processor_seconds(pids) - before) / result["requests"] * 1e6
                found[name].append(result)
        middle = {
            name: {field: statistics.median(each[field] for each in results) for field in results[0]}
            for name, results in found.items()
        }
        for name, values in middle.items():
            ratio = values["rps"] / middle["bare"]["rps"]
            print(
                f"{connections:>11} {name:8} {values['rps']:>10.0f} {ratio:>6.2f} {values['cpu']:>10.1f}"
                f" {values['p50']:>7.2f} {values['p99']:>7.2f}"
            )


def streams(gateway: Gateway, folder: Path, events: int, pause: float, count: int = 50) -> None:
    print(f"{count} streams of {events} events at once, one each {pause * 1000:.0f} ms")
    print(f"{'':8} {'us/event':>9} {'ratio':>6} {'KiB/stream':>11} {'first byte ms':>14}")
    (folder / "stream.json").write_text(json.dumps(chat("x"), separators=(",", ":"))[:-1] + ',"stream":true}')
    pids, bare = gateway.worker_pids(), 0.0
    for name, port, path in (
        ("bare", gateway.bare_port, "v1/chat/completions"),
        ("gateway", gateway.port, "v1/chat/completions"),
        ("Ollama's", gateway.ollama_port, "api/chat"),
    ):
        before, memory = processor_seconds(pids), memory_kib(pids)
        command = [
            "curl",
            "-fsS",
            "-o",
            "/dev/null",
            "-w",
            "%{time_starttransfer}",
            "-H",
            "Authorization: Bearer sk-alice",
        ]
        url = f"http://127.0.0.1:{port}/{path}"
        clients = [
            subprocess.Popen(
                [*command, "--data-binary", f"@{folder}/stream.json", url], stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        most = memory
        while any(client.poll() is None for client in clients):
            most = max(most, memory_kib(pids))
            time.sleep(0.05)
        if any(client.returncode for client in clients):
            raise SystemExit(f"a stream of {name} was refused or cut")
        spent = (processor_seconds(pids) - before) / count / events * 1e6
        bare = bare or spent
        first = statistics.median(float(client.communicate()[0]) for client in clients) * 1000
        print(f"{name:8} {spent:>9.1f} {spent / bare:>6.2f} {(most - memory) / count:>11.1f} {first:>14.1f}")


def beside_litellm(gateway: Gateway, folder: Path, engine_port: int, rounds: int, seconds: float) -> None:
    body = json.dumps(chat("What is the capital of France? Answer in one short sentence. " * 6, max_tokens=24))
    print(f"LiteLLM's proxy {litellm_proxy.VERSION} with one process, 8 connections, medians of {rounds} rounds")
    print(f"{'':8} {'requests/s':>10} {'us/request':>10} {'requests/s and core':>20}")
    worker = gateway.worker_pids()[0]
    found: dict[str, list[tuple[float, float]]] = {"gateway": [], "LiteLLM": []}
    with litellm_proxy.running(folder, engine_port, "sk-alice") as (pid, port):
        asked = {"gateway": (worker, gateway.port), "LiteLLM": (pid, port)}
        for each in asked.values():
            wrk(each[1], body, folder, 8, 5)
        for _ in range(rounds):
            for name, (process, at) in asked.items():
                before = litellm_proxy.processor_seconds(process)
                result = wrk(at, body, folder, 8, seconds)
                spent = litellm_proxy.processor_seconds(process) - before
                found[name].append((result["rps"], spent / result["requests"] * 1e6))
    costs = {}
    for name, results in found.items():
        rps, costs[name] = (statistics.median(each[field] for each in results) for field in (0, 1))
        print(f"{name:8} {rps:>10.0f} {costs[name]:>10.1f} {1e6 / costs[name]:>20.0f}")
    print(f"per core the gateway answers {costs['LiteLLM'] / costs['gateway']:.0f} times as many requests")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--upstream-us", type=int, default=100)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two events of a stream")
    parser.add_argument("--litellm", action="store_true", help="ask LiteLLM's proxy too; pip installs it")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mistral-bench-"))
    home = Path(tempfile.mkdtemp(prefix="mistral-gateway-"))
    for each in (folder, home):
        each.chmod(0o755)
    engine, port = start_engine(folder, options.upstream_us, options.events, options.pause)
    limits = {
        "requests_per_minute": 100_000_000,
        "concurrent": 1000,
        "tokens_per_minute": 10**12,
        "tokens_per_day": 10**12,
    }
    document = plan(
        [f"127.0.0.1:{port}"],
        [key("alice", **limits)],
        queue={"running": 100, "waiting": 100},
        defaults={"temperature": 0.7, "top_p": 0.9, "max_tokens": 512},
        max_tokens_limit=4096,
    )
    gateway = Gateway(home, document)
    try:
        gateway.start()
        print(f"the engine is busy for {options.upstream_us} us with each request")
        whole_answers(gateway, folder, options.rounds, options.seconds)
        streams(gateway, folder, options.events, options.pause)
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
        if options.litellm:
            beside_litellm(gateway, folder, port, options.rounds, options.seconds)
    except litellm_proxy.NotToBeHad as error:
        print(error)
    finally:
        gateway.stop()
        engine.terminate()
        engine.wait()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
