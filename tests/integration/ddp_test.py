"""DDP with 2 and 4 ranks against one process on the same global batches, and against PyTorch's DDP.

Float64 results agree to 1e-10 whatever the optimizer, float32 ones with SGD to 1e-6, the losses of
AdamW in float32 to 1e-5 (it scales gradients up that are zero in theory); ranks have bitwise equal
parameters. The ranks are processes of this machine: two talk over Gloo on 127.0.0.1, four in shared
memory.
"""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import typing

import numpy
import rank_run
import support
import torch
from safetensors import safe_open

PROGRAM = support.bin_dir() / "ddp_program"
DEADLINE = 300  # seconds: a guard against hangs
COMPRESSED = {"fp16": 2e-3, "fp16_static": 2e-3, "bf16": 2e-2}
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


def run_ranks(folder, size, *backend):
    rendezvous = folder / f"rendezvous{size}"
    outputs = [folder / f"{size}_{rank}.safetensors" for rank in range(size)]
    processes = [subprocess.Popen([PROGRAM, str(rank), str(size), rendezvous, outputs[rank],
                                   *backend]) for rank in range(size)]
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


def tolerance_of(case):
    if case == "float32_adamw":
        return 1e-5
    return COMPRESSED.get(case, 1e-6 if case.startswith("float32") else 1e-10)


def compare(reference, ranks):
    size = len(ranks)
    for case in reference.cases():
        tolerance = tolerance_of(case)
        expected = reference.group(f"{case}/parameters/")
        for name, tensor in ranks[0].group(f"{case}/parameters/").items():
            off = difference(tensor, expected[name])
            check(off <= tolerance or case == "float32_adamw",
                  f"{case}, {size} ranks: {name} is off by {off:.3g}")
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
    for case in ("unused_by_step", "static_unused", "static_unused_by_rank", "static_unused_skip"):
        check(difference(ranks[0].tensors[f"{case}/parameters/spare"], numpy.ones(4)) == 0.0,
              f"{case}: a parameter that no rank uses is left alone, by weight decay too")
    # These cases go on with a new strategy in the middle, or learn the graph in the first step: the
    # layout of the buckets is the same.
    for case, whole in (("restart", "buckets"), ("static", "buckets"), ("static_restart", "buckets"),
                        ("backwards_restart", "backwards")):
        for name, tensor in ranks[0].group(f"{whole}/parameters/").items():
            check(tensor.tobytes() == ranks[0].tensors[f"{case}/parameters/{name}"].tobytes(),
                  f"{case}, {size} ranks: other bits of {name} than in {whole}")


def check_messages(ranks):
    size = len(ranks)
    for rank in ranks:
        # One broadcast of the buffer, one bucket; more when the reducer is made.
        for case in ("plain", "accumulate", "weights"):
            counts = rank.tensors[f"{case}/messages"][1:]
            check((counts == 2).all(), f"{case}, {size} ranks: {counts} messages in a step")
        # The same buckets, when the graph is known too.
        expected = rank.tensors["buckets/messages"][-1]
        for case in ("static", "static_accumulate"):
            counts = rank.tensors[f"{case}/messages"][1:]
            check((counts == expected).all(), f"{case}, {size} ranks: {counts} messages in a step")
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
    "graph_loses": ("2 trainable", "head_b.weight, head_b.bias", "static_graph", "HINT"),
    "graph_gains": ("2 trainable", "head_b.weight, head_b.bias", "static_graph", "HINT"),
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

ROWS = 12  # of a global batch


class PeerCase(typing.NamedTuple):
    name: str
    optimizer: str = "sgd"
    accumulate: int = 1
    heads: str = "both"
    ddp: dict = {}


PEER_CASES = (
    PeerCase("float32"),
    PeerCase("float32_adamw", optimizer="adamw"),
    PeerCase("float32_accumulate", accumulate=3),
    PeerCase("float32_static", heads="a", ddp={"static_graph": True}),
    # PyTorch's own static graph fails where the first window accumulates (no_sync).
    PeerCase("float32_static_accumulate", accumulate=3),
    PeerCase("float32_unused", heads="by_row", ddp={"find_unused_parameters": True}),
)


class Net(torch.nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads = heads
        self.first = torch.nn.Linear(6, 16)
        self.second = torch.nn.Linear(16, 8)
        self.head_a = torch.nn.Linear(8, 3)
        self.head_b = torch.nn.Linear(8, 3)

    def forward(self, x, first_row):
        hidden = self.second(self.first(x).tanh()).tanh()
        if self.heads == "a":
            return self.head_a(hidden)
        if self.heads == "by_row":
            of_a = min(max(ROWS // 2 - first_row, 0), len(hidden))
            parts = [head(rows) for head, rows in
                     ((self.head_a, hidden[:of_a]), (self.head_b, hidden[of_a:])) if len(rows)]
            return torch.cat(parts)
        return self.head_a(hidden) + 0.5 * self.head_b(hidden)


def data(first, last, columns, frequency):
    row = torch.arange(first, last, dtype=torch.float64).unsqueeze(1)
    column = torch.arange(columns, dtype=torch.float64)
    return ((row * frequency + column * 1.7).sin() + 0.1 * (row * 0.9 - column).cos()).float()


def train_peer(case, rank, size, initial):
    """(mean loss of each step, parameters)"""
    net = Net(case.heads)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(torch.from_numpy(initial[name]))
    model = torch.nn.parallel.DistributedDataParallel(net, **case.ddp)
    if case.optimizer == "adamw":
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    share = ROWS // size
    found = []
    for step in range(20):
        optimizer.zero_grad()
        total = 0.0
        for micro in range(case.accumulate):
            first = (step * case.accumulate + micro) * ROWS + rank * share
            is_last = micro + 1 == case.accumulate
            with contextlib.nullcontext() if is_last else model.no_sync():
                loss = torch.nn.functional.mse_loss(
                    model(data(first, first + share, 6, 0.37), rank * share),
                    data(first, first + share, 3, 0.21))
                (loss / case.accumulate).backward()
            total += loss.item() / case.accumulate
        optimizer.step()
        found.append(total)
    return found, {name: p.detach().numpy() for name, p in net.named_parameters()}


def peer(rank, size, port, initial, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank,
                                         world_size=size)
    queue.put((rank, {case.name: train_peer(case, rank, size, initial) for case in PEER_CASES}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def check_peer(ranks):
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    size = len(ranks)
    arguments = (size, rank_run.free_port(), ranks[0].group("initial/"), queue)
    processes = [context.Process(target=peer, args=(rank, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    answers = sorted((queue.get(timeout=DEADLINE) for _ in processes), key=lambda a: a[0])
    for process in processes:
        process.join(DEADLINE)
    for rank, results in answers:
        for case, (found, parameters) in results.items():
            tolerance = tolerance_of(case)
            own = ranks[rank].tensors[f"{case}/loss_sums"] / ranks[rank].tensors[f"{case}/rows"]
            off = numpy.abs(own - numpy.array(found)).max()
            check(off <= tolerance, f"{case}, {size} ranks: the losses of PyTorch's rank {rank} "
                  f"are others by {off:.3g}")
            if case == "float32_adamw":
                continue
            for name, tensor in parameters.items():
                off = difference(ranks[rank].tensors[f"{case}/parameters/{name}"], tensor)
                check(off <= tolerance, f"{case}, {size} ranks: PyTorch's {name} on rank {rank} is "
                      f"off by {off:.3g}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (reference,) = run_ranks(folder, 1)
        for size, backend in ((2, "gloo"), (4, "shared_memory")):
            ranks = run_ranks(folder, size, backend)
            compare(reference, ranks)
            check_messages(ranks)
            check_buffers(ranks)
            check_batch_norm(reference, ranks)
            check_errors(ranks)
            check_peer(ranks)
    print("\n".join(FAILURES) or f"{len(reference.cases())} cases agree")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
