"""Choosing the best of several configurations, and timing it."""

import sys
import time
from dataclasses import dataclass, field
from typing import Callable


@dataclass
class Contestant:
    """What serve.py measures; `measure` returns the figure in the unit of the benchmark's case."""

    about: str
    measure: Callable[[], float]
    tried: dict = field(default_factory=dict)


def seconds_per_run(work, least):
    """Seconds of one run of `work`, repeated until `least` seconds have passed."""
    started = time.perf_counter()
    runs = 0
    while True:
        work()
        runs += 1
        spent = time.perf_counter() - started
        if spent >= least:
            return spent / runs


def best_of(configurations, runs=5):
    """The fastest of {name: build}, where build() returns the work, and what each took in seconds.

    A configuration that this machine or version refuses is noted and passed over.
    """
    tried, works = {}, {}
    for name, build in configurations.items():
        try:
            work = build()
            for _ in range(2):
                work()
            times = []
            for _ in range(runs):
                started = time.perf_counter()
                work()
                times.append(time.perf_counter() - started)
        except Exception as error:
            reason = (str(error).strip() or "no reason").splitlines()[0]
            tried[name] = f"{type(error).__name__}: {reason[:200]}"
            print(f"{name}: {tried[name]}", file=sys.stderr)
            continue
        # Whatever else the machine does only ever adds time.
        tried[name] = min(times)
        works[name] = work
    if not works:
        raise RuntimeError(f"no configuration works: {tried}")
    name = min(works, key=lambda name: tried[name])
    return name, works[name], tried
