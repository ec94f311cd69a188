"""DDP with 2 and 4 ranks against one process on the same global batches, and against PyTorch's DDP.

Float64 results agree to 1e-10 whatever the optimizer, float32 ones with SGD to 1e-6; ranks have
bitwise equal parameters. The ranks are processes that talk over Gloo on 127.0.0.1.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import support
import torch
from safetensors import safe_open

PROGRAM = support.bin_dir() / "ddp_program"
DEADLINE = 300  # seconds: a guard against hangs
CASES_FLOAT32 = ("float32", "float32_weights")
COMPRESSED = {"fp16": 2e-3, "bf16": 2e-2}
FAILURES = []


def check(condition, text):
    if not condition:
        FAILURES.append(text)


class Result:
    """What one rank wrote."""

    def __init__(self, path):
        with safe_open(path, "numpy") as file:
            self.texts = file.metadata() or {}
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}

    def cases(self):
        return sorted({name.split("/")[0] for name in self.tensors if "/parameters/" in name})

    def group(self, prefix):
        return {name[len(prefix):]: t for name, t in self.tensors.items() if name.startswith(prefix)}


def run_ranks(folder, size):
    rendezvous = folder / f"rendezvous{size}"
    outputs = [folder / f"{size}_{rank}.safetensors" for rank in range(size)]
    processes = [subprocess.Popen([PROGRAM, str(rank), str(size), rendezvous, outputs[rank]])
                 for rank in range(size)]
    try:
        codes = [process.wait(timeout=DEADLINE) for process in processes]
    except subprocess.TimeoutExpired:
        sys.exit(f"FAILED: {size} ranks were not done after {DEADLINE} s")
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
    if any(codes):
        sys.exit(f"FAILED: {size} ranks ended with {codes}")
    return [Result(path) for path in outputs]


def difference(actual, expected):
    return numpy.abs(actual.astype(numpy.float64) - expected.astype(numpy.float64)).max()


def losses(ranks, case):
    """The mean loss of each step over all rows; nan where no rank had any."""
    sums = sum(rank.tensors[f"{case}/loss_sums"] for rank in ranks)
    rows = sum(rank.tensors[f"{case}/rows"] for rank in ranks)
    return numpy.divide(sums, rows, out=numpy.full_like(sums, numpy.nan), where=rows > 0)


def compare(reference, ranks):
    size = len(ranks)
    for case in reference.cases():
        tolerance = COMPRESSED.get(case, 1e-6 if case in CASES_FLOAT32 else 1e-10)
        expected = reference.group(f"{case}/parameters/")
        for name, tensor in ranks[0].group(f"{case}/parameters/").items():
            off = difference(tensor, expected[name])
            check(off <= tolerance, f"{case}, {size} ranks: {name} is off by {off:.3g}")
            for rank in ranks[1:]:
                check(rank.tensors[f"{case}/parameters/{name}"].tobytes() == tensor.tobytes(),
                      f"{case}, {size} ranks: {name} differs between ranks")
        off = numpy.nanmax(numpy.abs(losses(ranks, case) - losses([reference], case)))
        check(off <= tolerance, f"{case}, {size} ranks: losses are off by {off:.3g}")
        steps = reference.tensors[f"{case}/optimizer_steps"]
        for rank in ranks:
            check(rank.tensors[f"{case}/optimizer_steps"] == steps,
                  f"{case}, {size} ranks: {rank.tensors[f'{case}/optimizer_steps']} steps")
    check(reference.tensors["skip/optimizer_steps"] == 19, "no step where every rank skips")
    check(difference(ranks[0].tensors["unused_by_step/parameters/spare"], numpy.ones(4)) == 0.0,
          "a parameter that no rank uses is left alone, by weight decay too")
    # One case goes on with a new strategy in the middle: the layout of the buckets is the same.
    for name, tensor in ranks[0].group("buckets/parameters/").items():
        check(tensor.tobytes() == ranks[0].tensors[f"restart/parameters/{name}"].tobytes(),
              f"{size} ranks: a restart changes bits of {name}")


def check_messages(ranks):
    size = len(ranks)
    for rank in ranks:
        # One broadcast of the buffer, one bucket; more when the reducer is made.
        for case in ("plain", "accumulate", "weights"):
            counts = rank.tensors[f"{case}/messages"][1:]
            check((counts == 2).all(), f"{case}, {size} ranks: {counts} messages in a step")
        counts = rank.tensors["own_buffers/messages"][1:]
        check((counts == 1).all(), f"own_buffers, {size} ranks: {counts} messages in a step")
        before, total = rank.tensors["overlap"]
        check(before >= 1 and total > before, f"{size} ranks: {before} of {total} buckets had left "
              "when the first layer's gradient was yet to come")
        halved, whole = rank.tensors["fp16/bytes"], rank.tensors["float32/bytes"]
        check(0.5 * whole < halved < 0.7 * whole, f"fp16 sends {halved} bytes of {whole}")


def check_buffers(ranks):
    """Each forward adds rank + 1 to a buffer that follows rank 0, unless it is left alone."""
    steps = 20
    for index, rank in enumerate(ranks):
        visits = rank.tensors["plain/buffers/visits"][0]
        check(visits == steps - 1 + index + 1, f"rank {index} has counted {visits} visits")
        own = rank.tensors["own_buffers/buffers/visits"][0]
        check(own == 3 * (index + 1), f"rank {index} has counted {own} visits of its own")
        for name, tensor in rank.group("batch_norm/buffers/norm.").items():
            check(tensor.tobytes() == ranks[0].tensors[f"batch_norm/buffers/norm.{name}"].tobytes(),
                  f"{name} of BatchNorm differs on rank {index}")


def check_batch_norm(reference, ranks):
    for case in ("batch_norm", "batch_norm_accumulate"):
        for name, tensor in reference.group(f"{case}/buffers/norm.").items():
            off = difference(ranks[0].tensors[f"{case}/buffers/norm.{name}"], tensor)
            check(off <= 1e-10, f"{case}, {len(ranks)} ranks: {name} is off by {off:.3g}")


ERRORS = {
    "unused": ("head_b.weight, head_b.bias", "3 trainable", "spare", "find_unused_parameters",
               "HINT"),
    "shape": ("head_b.weight", "[3, 8]", "rank 0", "[5, 8]", "rank 1", "HINT"),
    "dtype": ("head_b.weight", "Double", "rank 0", "Float", "rank 1"),
    "frozen": ("head_a.bias", "trainable", "rank 1"),
    "missing": ("parameter spare is on rank 1 but not on rank 0",),
    "options": ("bucket_cap_mb", "25", "10", "rank 1"),
    "mixed_weights": ("1 of the", "weight"),
}


def check_errors(ranks):
    for name, words in ERRORS.items():
        for index, rank in enumerate(ranks):
            text = rank.texts.get(name, "no such case")
            for word in words:
                check(word in text, f"{name} on rank {index} of {len(ranks)}: no '{word}' in: {text}")


# ---- PyTorch's own DDP

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(6, 16)
        self.second = torch.nn.Linear(16, 8)
        self.head_a = torch.nn.Linear(8, 3)
        self.head_b = torch.nn.Linear(8, 3)

    def forward(self, x):
        hidden = self.second(self.first(x).tanh()).tanh()
        return self.head_a(hidden) + 0.5 * self.head_b(hidden)


def data(first, last, columns, frequency):
    row = torch.arange(first, last, dtype=torch.float64).unsqueeze(1)
    column = torch.arange(columns, dtype=torch.float64)
    return ((row * frequency + column * 1.7).sin() + 0.1 * (row * 0.9 - column).cos()).float()


def peer(rank, size, port, initial, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank,
                                         world_size=size)
    net = Net()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(torch.from_numpy(initial[name]))
    model = torch.nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    share = 12 // size
    found = []
    for step in range(20):
        first = step * 12 + rank * share
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(data(first, first + share, 6, 0.37)),
                                            data(first, first + share, 3, 0.21))
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    queue.put((rank, found, {name: p.detach().numpy() for name, p in net.named_parameters()}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def free_port():
    import socket
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def check_peer(ranks):
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    size = len(ranks)
    arguments = (size, free_port(), ranks[0].group("initial/"), queue)
    processes = [context.Process(target=peer, args=(rank, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    answers = sorted((queue.get(timeout=DEADLINE) for _ in processes), key=lambda a: a[0])
    for process in processes:
        process.join(DEADLINE)
    for rank, found, parameters in answers:
        own = ranks[rank].tensors["float32/loss_sums"] / ranks[rank].tensors["float32/rows"]
        off = numpy.abs(own - numpy.array(found)).max()
        check(off <= 1e-6, f"the losses of PyTorch's rank {rank} are others by {off:.3g}")
        for name, tensor in parameters.items():
            off = difference(ranks[rank].tensors[f"float32/parameters/{name}"], tensor)
            check(off <= 1e-6, f"PyTorch's {name} on rank {rank} is off by {off:.3g}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (reference,) = run_ranks(folder, 1)
        for size in (2, 4):
            ranks = run_ranks(folder, size)
            compare(reference, ranks)
            check_messages(ranks)
            check_buffers(ranks)
            check_batch_norm(reference, ranks)
            check_errors(ranks)
            if size == 2:
                check_peer(ranks)
    print("\n".join(FAILURES) or f"{len(reference.cases())} cases agree")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
