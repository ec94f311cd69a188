"""A few cases out of a matrix that leave nothing out that matters."""

import itertools


def covering(axes: dict, claims: list, allowed=lambda **case: True) -> list[dict]:
    """Cases {axis: value} that cover every claim: of the axes that a claim names, each combination
    of values that occurs in an allowed case occurs in a chosen one, too.

        covering({"fault": [...], "rank": [0, 1], "phase": [...]}, [("fault", "rank"), ("phase",)])

    has each fault on each rank, and each phase at least once. The choice is always the same: of the
    cases in the order of itertools.product, the first of those that cover most of what is left."""
    cases = [case for values in itertools.product(*axes.values())
             if allowed(**(case := dict(zip(axes, values, strict=True))))]
    left = set().union(*(combinations(case, claims) for case in cases))
    chosen = []
    while left:
        best = max(cases, key=lambda case: len(combinations(case, claims) & left))
        chosen.append(best)
        left -= combinations(best, claims)
    return chosen


def combinations(case: dict, claims: list) -> set:
    """What of the claims a case covers."""
    return {(claim, tuple(case[axis] for axis in claim)) for claim in claims}
