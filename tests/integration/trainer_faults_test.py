"""Faults of whole trainings (tests/support/rank_faults.py) under the own launcher and torchrun."""

import sys

import ports
import pytest
import rank_faults
import rank_run
import trainings
from rank_faults import PHASES, RANKS, Case, Launcher, Training, check_whole
from rank_run import check
from trainings import difference

pytestmark = pytest.mark.usefixtures("one_thread")

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--no-python")


def rank_0_throws_in_few_phases(fault, rank, phase, **_):
    return (fault, rank) != ("throw", 0) or phase in ("first_step", "checkpoint")


def check_two_agents(work, whole, _):
    """One agent of torchrun for each rank, as on two nodes, at an address that both are given."""
    training = Training(work, "two_agents", None)
    place = ("--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1",
             f"--master-port={ports.free_port()}")
    agents = [rank_run.Run(*TORCHRUN, *place, f"--node-rank={node}",
                           *trainings.command(training.root)) for node in range(2)]
    texts = [training.end_well(agent) for agent in agents]
    check("rank 0 of 2 on node 0 of 2" in texts[0], "the place isn't told", agents[0])
    check(difference(training.weights(), whole) == 0.0, "other weights", agents[0])


CASES = [
    *rank_faults.matrix(["torchrun", "local"], ["freeze", "kill", "throw"], list(PHASES),
                        rank_0_throws_in_few_phases),
    rank_faults.as_parameter(Case(check_whole, "torchrun", ("torchrun",))),
    rank_faults.as_parameter(Case(check_two_agents, "torchrun")),
]


@pytest.fixture(scope="module")
def running(work, in_threads):
    local = Launcher("local", after=("--trainer.devices", str(RANKS)))
    # Over Gloo, as on several nodes; the others share memory.
    torchrun = Launcher("torchrun",
                        before=(*TORCHRUN, "--standalone", f"--nproc-per-node={RANKS}"),
                        after=("--trainer.process_group_backend", "gloo"), summary="Root Cause")
    return in_threads(rank_faults.Faults(work, [local, torchrun]), at_a_time=10)


@pytest.mark.parametrize("case", CASES)
def test_fault(case, running):
    running.result(case)
