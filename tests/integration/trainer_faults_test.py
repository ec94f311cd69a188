"""Faults of whole trainings (tests/support/rank_faults.py) under the own launcher and torchrun."""

import itertools
import os
import sys

import rank_faults
import rank_run
import trainings
from rank_faults import PHASES, RANKS, Launcher, Training, check_fault, check_whole
from rank_run import check
from trainings import difference

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--no-python")
LOCAL = Launcher("local", after=("--trainer.devices", str(RANKS)))
# Over Gloo, as on several nodes; the others share memory.
ONE_AGENT = Launcher("torchrun", before=(*TORCHRUN, "--standalone", f"--nproc-per-node={RANKS}"),
                     after=("--trainer.process_group_backend", "gloo"), summary="Root Cause")


def check_two_agents(work, whole):
    """One agent of torchrun for each rank, as on two nodes, at an address that both are given."""
    training = Training(work, "two_agents", None)
    place = ("--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1",
             f"--master-port={rank_run.free_port()}")
    agents = [rank_run.Run(*TORCHRUN, *place, f"--node-rank={node}",
                           *trainings.command(training.root)) for node in range(2)]
    texts = [training.end_well(agent) for agent in agents]
    check("rank 0 of 2 on node 0 of 2" in texts[0], "the place isn't told", agents[0])
    check(difference(training.weights(), whole) == 0.0, "other weights", agents[0])


def cases(work, whole):
    # First what takes longest: torchrun's agent gives a frozen worker half a minute.
    for launcher in (ONE_AGENT, LOCAL):
        for fault, rank, phase in itertools.product(("freeze", "kill"), range(RANKS), PHASES):
            yield check_fault, (work, whole, launcher, fault, rank, phase)
        for phase in PHASES:
            yield check_fault, (work, whole, launcher, "throw", 1, phase)
        for phase in ("first_step", "checkpoint"):
            yield check_fault, (work, whole, launcher, "throw", 0, phase)
        yield from rank_faults.cases_of_all_ranks(work, whole, launcher)
    yield check_whole, (work, whole, ONE_AGENT, "torchrun")
    yield check_two_agents, (work, whole)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(rank_faults.run_cases(cases, at_a_time=10))
