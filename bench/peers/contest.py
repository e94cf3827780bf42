"""Choosing the best of several configurations, and timing it."""

import sys
import time
from dataclasses import dataclass, field
from typing import Callable

WARM_UPS = 2
# Timed runs in a trial: at least and at most this many, and none after so many seconds.
LEAST, MOST, SECONDS = 2, 5, 3
# A configuration that takes so many times the best one's time is not tried any further.
HOPELESS = 1.5


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


def trial(work, hopeless):
    """Seconds of the fastest run: whatever else the machine does only ever adds time."""
    for _ in range(WARM_UPS):
        work()
    times = []
    while len(times) < LEAST or (
        len(times) < MOST and sum(times) < SECONDS and min(times) < hopeless
    ):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def contenders(configurations, known):
    """Those that have not been tried, and those that came close to the best."""
    times = {name: time for name, time in known.items() if not isinstance(time, str)}
    limit = HOPELESS * min((times[name] for name in configurations if name in times), default=0)
    return {
        name: build for name, build in configurations.items()
        if name not in known or times.get(name, float("inf")) <= limit
    }


def best_of(configurations, parameters, units=1):
    """The fastest of {name: build}, where build() returns the work, and what each took in seconds.

    Times are those of one of `units` that a run of the work does. What a trial of the same work at
    another size found, parameters["known"], leaves the hopeless ones out. A configuration that this
    machine or version refuses is noted and passed over.
    """
    known = parameters.get("known", {})
    tried, works = {}, {}
    for name, build in contenders(configurations, known).items():
        try:
            work = build()
            limit = HOPELESS * min((tried[name] for name in works), default=float("inf"))
            tried[name] = trial(work, limit * units) / units
            works[name] = work
        except Exception as error:
            reason = (str(error).strip() or "no reason").splitlines()[0]
            tried[name] = f"{type(error).__name__}: {reason[:200]}"
            print(f"{name}: {tried[name]}", file=sys.stderr)
    if not works:
        raise RuntimeError(f"no configuration works: {tried}")
    name = min(works, key=lambda name: tried[name])
    return name, works[name], {**known, **tried}
