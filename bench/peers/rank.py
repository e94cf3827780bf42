"""Matrices a second through torch.linalg.matrix_rank, one call for all."""

import torch
from contest import Contestant, best_of, seconds_per_run


def contestant(parameters):
    side, count = parameters["side"], parameters["matrices"]
    maps = torch.randn(count, side, side).relu()

    def in_parts(parts):
        """Parts that stay in the cache may be faster than all at once."""
        return lambda: [torch.linalg.matrix_rank(part) for part in maps.chunk(parts)]

    name, work, tried = best_of({
        "all in one call": lambda: in_parts(1),
        "16 calls": lambda: in_parts(min(16, count)),
    }, parameters, count)
    return Contestant(name, lambda: count / seconds_per_run(work, parameters["seconds"]), tried)
