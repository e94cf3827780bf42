"""Choosing the best of several configurations, and timing it."""

import sys
import time
from dataclasses import dataclass, field
from typing import Callable

WARM_UPS = 2
# Timed runs in a trial: at least and at most this many, and none after so many seconds.
LEAST, MOST, SECONDS = 2, 5, 3
# A configuration that takes so many times the best one's time is not tried any further; one that
# took less than so many times it is tried again at another size.
HOPELESS, CLOSE = 1.5, 1.2


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


def warm(work):
    for _ in range(WARM_UPS):
        work()
    return work


def trial(work, hopeless):
    """Seconds of the fastest run: whatever else the machine does only ever adds time."""
    warm(work)
    times = []
    while len(times) < LEAST or (
        len(times) < MOST and sum(times) < SECONDS and min(times) < hopeless
    ):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def seconds_in(tried, names):
    """The times among `tried`, which also holds reasons why something failed."""
    return {name: tried[name] for name in names if isinstance(tried.get(name), (int, float))}


def contenders(configurations, known):
    """Those that were not tried at other sizes, and those that came close to the best there."""
    times = seconds_in(known, configurations)
    limit = CLOSE * min(times.values(), default=0)
    return [name for name in configurations if name not in known or times.get(name, limit) < limit]


def best_of(configurations, parameters, units=1):
    """The fastest of {name: build}, where build() returns the work, and what each took in seconds.

    Times are those of one of `units` that a run of the work does. parameters["known"] lists those
    of trials of the same work before, by its number of images: at this number they count as they
    are, at others they tell whom to leave out. A configuration that this machine or version refuses
    is noted and passed over.
    """
    known = dict(parameters.get("known", {}))
    tried = known.pop(str(parameters.get("images")), {})
    elsewhere = {name: time for trials in known.values() for name, time in trials.items()}
    works = {}
    for name in contenders(configurations, elsewhere):
        if name in tried:
            continue
        limit = HOPELESS * min(seconds_in(tried, configurations).values(), default=float("inf"))
        try:
            work = configurations[name]()
            tried[name] = trial(work, limit * units) / units
            works[name] = work
        except Exception as error:
            reason = (str(error).strip() or "no reason").splitlines()[0]
            tried[name] = f"{type(error).__name__}: {reason[:200]}"
            print(f"{name}: {tried[name]}", file=sys.stderr)
    times = seconds_in(tried, configurations)
    if not times:
        raise RuntimeError(f"no configuration works: {tried}")
    name = min(times, key=times.get)
    return name, works.get(name) or warm(configurations[name]()), tried
