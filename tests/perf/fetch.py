"""How fast downloads are beside curl, openssl and ansible.builtin.get_url, in one run; prints a table, fails on a miss.

Usage: fetch.py [--size GIB] [--runs N] [--directory DIRECTORY ...]
Needs curl, openssl and nginx (taken from the distribution's package without installing it if it is not there).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.component.real_servers.packages import nginx

ROOT = Path(__file__).resolve().parents[2]

MIB = 1 << 20
# Runs a piece of Python that can import the collection from this checkout.
RUN = f"""
import time; begun = time.monotonic()
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("conftest", {str(ROOT / "tests" / "tools" / "checkout.py")!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
def peak():
    # Not ru_maxrss, which counts the process that started this one too.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
"""
FETCH = (
    RUN
    + """
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import present
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import model_source
store, url, sha256, ca = sys.argv[1:]
wanted = Wanted(store, "m", "", "m.gguf", sha256, "")
access = Access(http=http_client.Settings(ca_path=ca), hub=huggingface.HubSettings())
begun = time.monotonic()
outcome = present(wanted, model_source.parse_source("m", url, "", sha256), access, check=False)
print(json.dumps([time.monotonic() - begun, peak(), outcome.changed]))
"""
)
MODULE = (
    RUN
    + """
import importlib, io
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module(sys.argv[1])
try:
    with patch_module_args(json.load(sys.stdin)):
        module.main()
except SystemExit as end:
    if end.code:
        raise
print()
print(json.dumps([time.monotonic() - begun, peak()]))
"""
)
VERIFY = (
    RUN
    + """
from ansible_collections.mistralrs.stack.plugins.module_utils._store.hashing import hash_files
begun = time.monotonic()
hash_files(sys.argv[1:])
print(json.dumps([time.monotonic() - begun]))
"""
)
HEADER = (
    RUN
    + """
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_model
begun = time.monotonic()
gguf_model.inspect(sys.argv[1], "m")
print(json.dumps([time.monotonic() - begun, peak()]))
"""
)


class Row(NamedTuple):
    """A line of the table: what, where, the measured value with its unit, the limit, and whether it holds."""

    what: str
    where: str
    value: str
    limit: str
    good: bool | None


def python(code: str, *arguments: str, text: str = "") -> list[float]:
    """The numbers that a piece of Python prints last."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "no_proxy": "127.0.0.1"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"error: a measured run failed: {done.stdout}{done.stderr}")
    return [float(number) for number in json.loads(done.stdout.splitlines()[-1])]


def seconds(command: list[str]) -> float:
    """How long a program takes."""
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - begun


def make_model(path: Path, size: int) -> None:
    """A GGUF of that size with one large tensor."""
    from tests.fakes.gguf_writer import build

    header = build({"general.architecture": "llama"}, {"a": ([(size - 4096) // 4], 0, size - 4096)}, data=b"")
    block = os.urandom(16 * MIB)
    with path.open("wb") as file:
        file.write(header)
        while file.tell() < size:
            file.write(block[: size - file.tell()])


def median(runs: int, *measures: Callable[[], Any]) -> list[float]:
    """The medians of several measures that take turns."""
    found: list[list[float]] = [[] for _measure in measures]
    for _run in range(runs):
        for values, measure in zip(found, measures):
            values.append(measure())
    return [statistics.median(values) for values in found]


def downloads(directory: Path, model: Path, runs: int) -> list[Row]:
    """A download with a checksum against curl without, openssl, and get_url with one."""
    rows: list[Row] = []
    store, target = directory / "store", directory / "curl.out"
    sha256 = subprocess.run(["openssl", "dgst", "-sha256", "-r", model], check=True, capture_output=True, text=True)
    digest = sha256.stdout.split()[0]
    peaks: list[float] = []

    def ours(url: str, ca: str) -> Callable[[], float]:
        def measure() -> float:
            shutil.rmtree(store, ignore_errors=True)
            taken, peak, changed = python(FETCH, str(store), f"{url}/{model.name}", digest, ca)
            if not changed:
                raise SystemExit("error: nothing was fetched.")
            peaks.append(peak / 1024)
            return taken

        return measure

    def curl(url: str, ca: str) -> Callable[[], float]:
        def measure() -> float:
            target.unlink(missing_ok=True)
            return seconds(["curl", "-sf", "--noproxy", "*", "--cacert", ca, "-o", str(target), f"{url}/{model.name}"])

        return measure

    def get_url() -> float:
        target.unlink(missing_ok=True)
        options = {"url": f"{plain}/{model.name}", "dest": str(target), "checksum": f"sha256:{digest}"}
        given = {**options, "_ansible_remote_tmp": str(directory), "use_proxy": False}
        return python(MODULE, "ansible.modules.get_url", text=json.dumps(given))[0]

    def hashing() -> float:
        return seconds(["openssl", "dgst", "-sha256", str(target)])

    with nginx(model.parent) as served:
        plain, tls, ca = served
        own, bare, hashed, other = median(runs, ours(plain, ""), curl(plain, ca), hashing, get_url)
        own_tls, bare_tls = median(runs, ours(tls, ca), curl(tls, ca))
    where = str(directory)
    target.unlink(missing_ok=True)
    shutil.rmtree(store, ignore_errors=True)
    rows.append(Row("curl without a checksum", where, f"{bare:.2f} s", "", None))
    rows.append(Row("openssl dgst -sha256", where, f"{hashed:.2f} s", "", None))
    rows.append(Row("get_url with a checksum", where, f"{other:.2f} s", "", None))
    best = max(bare, hashed)
    rows.append(Row("model", where, f"{own:.2f} s", f"1.15 x {best:.2f} s", own <= 1.15 * best))
    rows.append(Row("model, times as fast as get_url", where, f"{other / own:.1f}", "4", other >= 4 * own))
    rows.append(Row("curl with TLS", where, f"{bare_tls:.2f} s", "", None))
    best = max(bare_tls, hashed)
    rows.append(Row("model with TLS", where, f"{own_tls:.2f} s", f"1.15 x {best:.2f} s", own_tls <= 1.15 * best))
    rows.append(Row("memory of a download", where, f"{max(peaks):.0f} MB", "64 MB", max(peaks) <= 64))
    return rows


def no_change(directory: Path) -> list[Row]:
    """A run that has nothing to do, with ten models of 20 GB each (sparse)."""
    store = directory / "store"
    (store / ".store").mkdir(parents=True)
    models = []
    for number in range(10):
        path = store / f"m{number}.gguf"
        path.touch()
        os.truncate(path, 20 << 30)
        status = path.stat()
        identity = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
        source = f"https://example.com/{number}.gguf"
        sidecar = {"format": 1, "sha256": f"{number:064}", "gguf": {"tokenizer": "gpt2"}, "tokenizer": None, **identity}
        (store / ".store" / f"{path.name}.json").write_text(json.dumps({**sidecar, "source": source}))
        models.append({"name": path.name, "source": source, "sha256": f"{number:064}"})
        path.chmod(0o644)
    given = {"path": str(store), "models": models, "_ansible_remote_tmp": str(directory)}
    module = "ansible_collections.mistralrs.stack.plugins.modules.model"
    # The first run notes what it found.
    python(MODULE, module, text=json.dumps(given))
    taken, peak = zip(*(python(MODULE, module, text=json.dumps(given)) for _run in range(5)))
    shutil.rmtree(store)
    time_, memory = statistics.median(taken) * 1000, max(peak) / 1024
    return [
        Row("run without a change, 10 models", str(directory), f"{time_:.0f} ms", "150 ms", time_ <= 150),
        Row("memory of that run", str(directory), f"{memory:.0f} MB", "40 MB", memory <= 40),
    ]


def cached_by_reading(path: Path) -> None:
    """Have a file in the page cache as the kernel reads it, which is in larger pieces than it was written in."""
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while file.read(MIB):
            pass


def verification(directory: Path, model: Path, runs: int) -> list[Row]:
    """Two files on two cores against what openssl can do."""
    second = directory / "second"
    shutil.copyfile(model, second)
    first = directory / "first"
    shutil.copyfile(model, first)
    for path in (first, second):
        cached_by_reading(path)
    size = model.stat().st_size
    speed: list[float] = []

    def possible() -> float:
        command = ["openssl", "speed", "-multi", "2", "-seconds", "2", "-bytes", str(MIB), "-evp", "sha256"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        match = re.search(r"sha256\s+([\d.]+)k", done.stdout, re.IGNORECASE)
        if not match:
            raise SystemExit(f"error: openssl speed printed nothing usable: {done.stdout}")
        speed.append(float(match[1]) / 1000)
        return speed[-1]

    ours, both = median(runs, lambda: python(VERIFY, str(first), str(second))[0], possible)
    first.unlink()
    second.unlink()
    rate = 2 * size / ours / 1e6
    limit = f"0.95 x {both:.0f} MB/s"
    return [Row("verify two files", str(directory), f"{rate:.0f} MB/s", limit, rate >= 0.95 * both)]


def header(directory: Path) -> list[Row]:
    """A header with 150,000 pieces and 150,000 merges."""
    from tests.fakes.gguf_writer import build

    path = directory / "header.gguf"
    fields = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [f"piece{number}" for number in range(150_000)],
        "tokenizer.ggml.merges": [f"left{number} right{number}" for number in range(150_000)],
    }
    path.write_bytes(build(fields))
    measured = [python(HEADER, str(path)) for _run in range(5)]
    path.unlink()
    taken, memory = statistics.median(run[0] for run in measured) * 1000, max(run[1] for run in measured) / 1024
    return [
        Row("header of 150,000 pieces", str(directory), f"{taken:.0f} ms", "80 ms", taken <= 80),
        Row("memory of that", str(directory), f"{memory:.0f} MB", "30 MB", memory <= 30),
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="of the file, in GiB")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", action="append", type=Path, help="where to measure")
    options = parser.parse_args()
    rows: list[Row] = []
    for base in options.directory or [Path("/dev/shm"), Path("/var/tmp")]:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=base) as folder:
            directory = Path(folder)
            directory.chmod(0o755)
            model = directory / "model.gguf"
            make_model(model, int(options.size * (1 << 30)))
            rows += downloads(directory, model, options.runs)
            rows += verification(directory, model, options.runs)
            rows += no_change(directory)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows += header(Path(folder))
    width = max(len(row.what) for row in rows)
    for row in rows:
        where = row.where.rpartition("/")[0] or "/"
        verdict = {None: "", True: "holds", False: "MISSED"}[row.good]
        print(f"{row.what:<{width}}  {where:<9} {row.value:>12}  {row.limit:<18} {verdict}")
    return any(row.good is False for row in rows)


if __name__ == "__main__":
    sys.exit(main())
