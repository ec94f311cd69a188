"""ddp_minimal on 1, 2 and 3 ranks, under its own launcher and torchrun, against one process on the
same global batches and against the same program written for PyTorch's DDP."""

import os
import re
import socket
import subprocess
import sys

import support
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

PROGRAM = support.bin_dir() / "ddp_minimal"
DEADLINE = 300  # seconds: a guard against hangs
EPOCHS = 5
TOLERANCE = 2e-6  # float32 sums in another order; the losses are printed with seven digits


def run(*arguments, launcher=()):
    command = [*launcher, PROGRAM, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE,
                            env=environment)
    if result.returncode != 0:
        sys.exit(f"FAILED: {command} ended with {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout


def losses(text):
    found = [float(loss) for loss in re.findall(r"epoch \d+/\d+ \| loss (\S+)", text)]
    assert len(found) == EPOCHS, text
    return found


def check_equal(found, expected, what):
    off = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    assert off <= TOLERANCE, f"{what}: the losses {found} are off by {off} from {expected}"


def peer(rank, size, batch_size, port, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank,
                                         world_size=size)
    # The generator of LibTorch is Python's: the same model and data come from the same seed.
    torch.manual_seed(0)
    net = torch.nn.Linear(20, 1)
    x = torch.randn(2048, 20)
    data = TensorDataset(x, x.sum(1, keepdim=True) + 0.1 * torch.randn(2048, 1))
    model = torch.nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    loader = DataLoader(data, batch_size, sampler=DistributedSampler(data, size, rank, shuffle=False))
    found = []
    for _ in range(EPOCHS):
        total = torch.zeros(())
        for inputs, targets in loader:
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        torch.distributed.all_reduce(total)
        found.append(total.item() / (len(loader) * size))
    if rank == 0:
        queue.put(found)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def peer_losses(size, batch_size):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=peer, args=(rank, size, batch_size, port, queue))
                 for rank in range(size)]
    for process in processes:
        process.start()
    found = queue.get(timeout=DEADLINE)
    for process in processes:
        process.join(DEADLINE)
    return found


def main():
    alone = run("--batch_size", 32)
    assert "rank 0 of 1" in alone, alone
    expected = losses(alone)
    assert expected[-1] < 0.011 < expected[0], f"the noise has the variance 0.01: {expected}"

    two = run("--batch_size", 16, "--devices", 2)
    assert re.search(r"^\[rank 1\] .*rank 1 of 2", two, re.M), two
    check_equal(losses(two), expected, "2 ranks")
    # 2048 = 22 * 93 + 2: in the last batch of an epoch the third rank has nothing.
    check_equal(losses(run("--batch_size", 31, "--devices", 3)), losses(run("--batch_size", 93)),
                "3 ranks with a ragged last batch")

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python",
                "--nproc-per-node=2"]
    text = run("--batch_size", 16, launcher=torchrun)
    assert "cluster: torchrun" in text and "rank 1 of 2" in text, text
    assert losses(text) == losses(two), "torchrun's ranks and our own: the same bits"

    in_order = losses(run("--batch_size", 16, "--devices", 2, "--shuffle", "false"))
    assert in_order != losses(two), "--shuffle changes nothing"
    check_equal(in_order, peer_losses(2, 16), "PyTorch's DDP")
    print("ddp_minimal: one process, 2 and 3 ranks, torchrun and PyTorch's DDP agree")


if __name__ == "__main__":
    main()
