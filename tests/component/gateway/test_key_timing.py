"""Whether the time of a refusal tells how much of a key was right."""

from __future__ import annotations

import statistics
import time

from tests.component.gateway.nginx_host import Start, key

SECRET_NAME = "the-key-of-alice-with-thirty-two-more"


def test_a_right_beginning_is_refused_as_fast_as_a_wrong_one(start: Start) -> None:
    gateway = start([key(SECRET_NAME)], unauthorized_per_minute=1_000_000)
    right = f"sk-{SECRET_NAME}"
    # All but its last letter, none of its letters, and the same in another case.
    guesses = {"right": right[:-1] + "X", "wrong": "Q" * len(right)}
    assert gateway.ask("GET", "/v1/models", name=SECRET_NAME).status == 200
    connection = gateway.connect()
    times: dict[str, list[float]] = {kind: [] for kind in guesses}
    # Each pair sees the same moment of the machine; which one is first changes.
    for number in range(1000):
        for kind in sorted(guesses, reverse=bool(number % 2)):
            begun = time.perf_counter()
            connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {guesses[kind]}"})
            response = connection.getresponse()
            response.read()
            times[kind].append(time.perf_counter() - begun)
            assert response.status == 401
    medians = {kind: statistics.median(found) for kind, found in times.items()}
    first, _middle, third = statistics.quantiles(times["wrong"], n=4)
    difference = abs(medians["right"] - medians["wrong"])
    print(f"medians {medians}, half of the tries lie within {third - first:.6f} s, difference {difference:.6f} s")
    # The medians of 1,000 tries each lie within 0.05 of that width of each other, if nothing tells them apart.
    assert difference < 0.4 * (third - first)
