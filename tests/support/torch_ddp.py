"""Trainings by PyTorch's own DDP, which ours are compared with. Their ranks are processes that import
this module."""

import contextlib
import typing

import ports
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

DEADLINE = 300  # seconds: a guard against hangs


def on_ranks(train, size, *arguments):
    """[train(rank, size, *arguments) of each rank], within a process group over Gloo."""
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    port = ports.free_port()
    processes = [context.Process(target=_rank, args=(queue, port, train, rank, size, arguments))
                 for rank in range(size)]
    for process in processes:
        process.start()
    try:
        answers = dict(queue.get(timeout=DEADLINE) for _ in processes)
        for process in processes:
            process.join(DEADLINE)
    finally:
        for process in processes:
            process.kill()
    return [answers[rank] for rank in range(size)]


def _rank(queue, port, train, rank, size, arguments):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank,
                                         world_size=size)
    queue.put((rank, train(rank, size, *arguments)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


# ---- the cases of ddp_program in float32

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


def _train_case(case, rank, size, initial):
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


def train_cases(rank, size, initial):
    """{case: (mean loss of each step, parameters)}"""
    return {case.name: _train_case(case, rank, size, initial) for case in PEER_CASES}


# ---- ddp_minimal

def train_minimal(rank, size, batch_size, epochs):
    """The mean loss of each epoch."""
    # The generator of LibTorch is Python's: the same model and data come from the same seed.
    torch.manual_seed(0)
    net = torch.nn.Linear(20, 1)
    x = torch.randn(2048, 20)
    samples = TensorDataset(x, x.sum(1, keepdim=True) + 0.1 * torch.randn(2048, 1))
    model = torch.nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    loader = DataLoader(samples, batch_size,
                        sampler=DistributedSampler(samples, size, rank, shuffle=False))
    found = []
    for _ in range(epochs):
        total = torch.zeros(())
        for inputs, targets in loader:
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        torch.distributed.all_reduce(total)
        found.append(total.item() / (len(loader) * size))
    return found
