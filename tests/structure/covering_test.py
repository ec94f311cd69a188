"""tests/support/covering.py chooses few cases, and leaves out nothing that is claimed."""

import itertools

import pytest
from covering import combinations, covering

AXES = {"launcher": ["local", "torchrun"], "fault": ["kill", "freeze", "throw"], "rank": [0, 1],
        "phase": list("abcdefg")}
PAIRS = list(itertools.combinations(AXES, 2))


def all_cases(allowed=lambda **case: True):
    return [case for values in itertools.product(*AXES.values())
            if allowed(**(case := dict(zip(AXES, values, strict=True))))]


def no_throw_of_rank_0(fault, rank, **_):
    return (fault, rank) != ("throw", 0)


@pytest.mark.parametrize(("claims", "most"), [
    ([("phase",)], 7),
    ([("launcher", "fault"), ("fault", "rank"), ("phase",)], 8),
    (PAIRS, 26),
    ([tuple(AXES)], 84),
])
@pytest.mark.parametrize("allowed", [lambda **case: True, no_throw_of_rank_0])
def test_every_claim_is_covered(claims, most, allowed):
    chosen = covering(AXES, claims, allowed)
    assert all(allowed(**case) for case in chosen)
    assert len(chosen) <= most
    covered = set().union(*(combinations(case, claims) for case in chosen))
    wanted = set().union(*(combinations(case, claims) for case in all_cases(allowed)))
    assert covered == wanted


def test_the_choice_is_always_the_same():
    assert covering(AXES, PAIRS) == covering(AXES, PAIRS)
