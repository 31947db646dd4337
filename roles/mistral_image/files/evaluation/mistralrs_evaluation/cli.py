# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command C(mistralrs) of the evaluation image."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mistralrs_evaluation import DESCRIPTION, LABEL, StartError, config

_log = logging.getLogger("mistralrs_evaluation")


def _leave(code: int, message: str = "") -> NoReturn:
    """Ends the process at once: threads that are inside the engine can't be asked to."""
    if message:
        print(message, file=sys.stderr)
    # A reader that went away must not keep the process.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def version() -> str:
    """What C(--version) says."""
    return f"mistralrs {importlib.metadata.version('mistralrs')} {LABEL}: {DESCRIPTION}"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mistralrs", description=DESCRIPTION)
    parser.add_argument("-V", "--version", action="store_true", help="say the version and end")
    commands = parser.add_subparsers(dest="command")
    serve = commands.add_parser("from-config", help="serve what a configuration file says")
    serve.add_argument("-f", "--file", required=True, type=Path, help="the configuration, a .toml file")
    parsed = parser.parse_args(arguments)
    if not parsed.version and parsed.command is None:
        parser.error("the evaluation engine knows one command: from-config")
    return parsed


def _serve(path: Path) -> None:
    import uvicorn

    from mistralrs_evaluation import engine, server

    configuration = config.load(path)
    _log.info("%s", version())
    if configuration.notes:
        _log.warning("no effect in an evaluation on the CPU: %s", ", ".join(configuration.notes))
    with tempfile.TemporaryDirectory(prefix="mistralrs-evaluation-") as scratch:
        models = engine.load(configuration, Path(scratch))

    def dead(error: engine.EngineDead) -> None:
        _leave(101, f"Error: {engine.sentence(error)}")

    app = server.application(configuration, models, dead)
    settings = uvicorn.Config(
        app,
        host=configuration.host,
        port=configuration.port,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    family = socket.AF_INET6 if ":" in configuration.host else socket.AF_INET
    try:
        listener = socket.create_server((configuration.host, configuration.port), family=family, backlog=1024)
    except OSError as error:
        where = f"{configuration.host}:{configuration.port}"
        raise StartError(f"Can't listen on {where}: {error.strerror or error}.") from None
    _log.info("Server listening on http://%s:%s (%s engine)", configuration.host, configuration.port, LABEL)

    class Server(uvicorn.Server):
        def capture_signals(self) -> contextlib.AbstractContextManager[None]:
            # As the engine has it: a signal ends the process at once, whatever it streams.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            return contextlib.nullcontext()

    Server(settings).run(sockets=[listener])


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command; never returns."""
    parsed = _arguments(arguments)
    if parsed.version:
        print(version())
        _leave(0)
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s %(levelname)5s %(name)s: %(message)s",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        _serve(parsed.file)
    except StartError as error:
        _leave(1, f"Error: {error}")
    except SystemExit as error:
        _leave(error.code if isinstance(error.code, int) else 1)
    _leave(0)
