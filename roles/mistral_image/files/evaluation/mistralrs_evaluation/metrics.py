# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine measures, under the names, kinds, labels and buckets that the real engine uses (recording metrics of
0.9.2+7; the two of streams: mistralrs-server-core/src/metrics.rs and streaming.rs at 9e922623)."""

from __future__ import annotations

import re

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CONTENT_TYPE = "text/plain; charset=utf-8"
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)
_BYTES = (128, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 52428800, 104857600)
_TO_FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
_BETWEEN_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)


_BOUND = re.compile(rb'le="([0-9.e+]+)"')


class Metrics:
    """One set of metrics, of its own, so that two engines in one process (tests) don't share it."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        labels = ("method", "path", "model", "status")
        self.requests = Counter("http_requests_total", "HTTP requests answered.", labels, registry=registry)
        self.duration = Histogram(
            "http_request_duration_seconds",
            "From the request to the end of its answer.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "http_requests_in_flight", "HTTP requests being answered.", labels[:3], registry=registry
        )
        self.body = Histogram(
            "http_request_body_bytes",
            "Size of the bodies of requests.",
            ("method", "path", "model"),
            buckets=_BYTES,
            registry=registry,
        )
        self.first_token = Histogram(
            "mistralrs_time_to_first_token_seconds",
            "From a streamed request to its first token, waiting included.",
            labels,
            buckets=_TO_FIRST_TOKEN,
            registry=registry,
        )
        self.inter_token = Histogram(
            "mistralrs_inter_token_latency_seconds",
            "Between two tokens of a stream.",
            labels,
            buckets=_BETWEEN_TOKENS,
            registry=registry,
        )
        self.tokens = Counter("mistralrs_tokens_processed_total", "Tokens of prompts and answers.", registry=registry)
        self.running = Gauge("mistralrs_sequences_running", "Sequences that generate.", registry=registry)
        self.waiting = Gauge("mistralrs_sequences_waiting", "Sequences that wait for their turn.", registry=registry)
        # Both are 0 or fixed here: a request waits for its turn in this server, not in the engine.
        self.pending = Gauge(
            "mistralrs_requests_pending_admission", "Requests that the engine has not begun.", registry=registry
        )
        self.capacity = Gauge("mistralrs_sequences_capacity", "Sequences that can generate at once.", registry=registry)
        self.completed = Counter(
            "mistralrs_sequences_completed_total", "Sequences that ended, and why.", ("reason",), registry=registry
        )

    def text(self) -> bytes:
        """The exposition for Prometheus."""
        text: bytes = prometheus_client.generate_latest(self.registry)
        # To Prometheus, "1.0" and the engine's "1" are two values of a label.
        return _BOUND.sub(lambda found: b'le="%.15g"' % float(found[1]), text)
