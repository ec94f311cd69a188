"""DDP with 2 and 4 ranks against one process on the same global batches, and against PyTorch's DDP.

Float64 results agree to 1e-10 whatever the optimizer, float32 ones with SGD to 1e-6, the losses of
AdamW in float32 to 1e-5 (it scales gradients up that are zero in theory); ranks have bitwise equal
parameters. The ranks are processes of this machine: two talk over Gloo on 127.0.0.1, four in shared
memory.
"""

import numpy
import pytest
import support
import torch_ddp
from rank_run import Run
from safetensors import safe_open

PROGRAM = support.bin_dir() / "ddp_program"
COMPRESSED = {"fp16": 2e-3, "fp16_static": 2e-3, "bf16": 2e-2}


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
    outputs = [folder / f"{size}_{rank}.safetensors" for rank in range(size)]
    rendezvous = folder / f"rendezvous{size}"
    runs = [Run(PROGRAM, str(rank), str(size), rendezvous, outputs[rank], *backend)
            for rank in range(size)]
    try:
        for run in runs:
            run.end(0)
    finally:
        for run in runs:
            run.kill()
    return [Result(path) for path in outputs]


@pytest.fixture(scope="module")
def reference(work):
    (one,) = run_ranks(work, 1)
    return one


@pytest.fixture(scope="module", params=[(2, "gloo"), (4, "shared_memory")],
                ids=["gloo2", "memory4"])
def ranks(request, work):
    return run_ranks(work, *request.param)


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


def test_parameters_equal_one_process(reference, ranks):
    for case in reference.cases():
        expected = reference.group(f"{case}/parameters/")
        for name, tensor in ranks[0].group(f"{case}/parameters/").items():
            off = difference(tensor, expected[name])
            assert off <= tolerance_of(case) or case == "float32_adamw", (case, name)
            for rank in ranks[1:]:
                other = rank.tensors[f"{case}/parameters/{name}"]
                assert other.tobytes() == tensor.tobytes(), f"{case}: ranks differ in {name}"


def test_losses_equal_one_process(reference, ranks):
    for case in reference.cases():
        off = numpy.nanmax(numpy.abs(losses(ranks, case) - losses([reference], case)))
        assert off <= tolerance_of(case), case


def test_optimizer_steps(reference, ranks):
    for case in reference.cases():
        steps = reference.tensors[f"{case}/optimizer_steps"]
        for rank in ranks:
            assert rank.tensors[f"{case}/optimizer_steps"] == steps, case
    assert reference.tensors["skip/optimizer_steps"] == 19, "no step where every rank skips"


@pytest.mark.parametrize("case", ["unused_by_step", "static_unused", "static_unused_by_rank",
                                  "static_unused_skip"])
def test_unused_parameters_are_left_alone(case, ranks):
    """By weight decay too."""
    assert difference(ranks[0].tensors[f"{case}/parameters/spare"], numpy.ones(4)) == 0.0


@pytest.mark.parametrize(("case", "whole"), [
    ("restart", "buckets"), ("static", "buckets"), ("static_restart", "buckets"),
    ("backwards_restart", "backwards")])
def test_the_layout_of_buckets_lasts(case, whole, ranks):
    """These cases continue with a new strategy in the middle, or learn the graph in the first step:
    the same bits."""
    for name, tensor in ranks[0].group(f"{whole}/parameters/").items():
        assert tensor.tobytes() == ranks[0].tensors[f"{case}/parameters/{name}"].tobytes(), name


def test_messages(ranks):
    for rank in ranks:
        # One broadcast of the buffer, one bucket; more when the reducer is made.
        for case in ("plain", "accumulate", "weights"):
            counts = rank.tensors[f"{case}/messages"][1:]
            assert (counts == 2).all(), (case, counts)
        # The same buckets, when the graph is known too.
        expected = rank.tensors["buckets/messages"][-1]
        for case in ("static", "static_accumulate"):
            counts = rank.tensors[f"{case}/messages"][1:]
            assert (counts == expected).all(), (case, counts)
        counts = rank.tensors["own_buffers/messages"][1:]
        assert (counts == 1).all(), counts
        before, total = rank.tensors["overlap"]
        assert before >= 1 and total > before, (
            f"{before} of {total} buckets had left when the first layer's gradient was yet to come")
        halved, whole = rank.tensors["fp16/bytes"], rank.tensors["float32/bytes"]
        assert 0.5 * whole < halved < 0.7 * whole, f"fp16 sends {halved} bytes of {whole}"


def test_buffers(ranks):
    """Each forward adds rank + 1 to a buffer that follows rank 0, unless it is left alone."""
    steps = 20
    for index, rank in enumerate(ranks):
        assert rank.tensors["plain/buffers/visits"][0] == steps - 1 + index + 1, index
        assert rank.tensors["own_buffers/buffers/visits"][0] == 3 * (index + 1), index
        for name, tensor in rank.group("batch_norm/buffers/norm.").items():
            first = ranks[0].tensors[f"batch_norm/buffers/norm.{name}"]
            assert tensor.tobytes() == first.tobytes(), f"{name} differs on rank {index}"


@pytest.mark.parametrize("case", ["batch_norm", "batch_norm_accumulate"])
def test_batch_norm(case, reference, ranks):
    for name, tensor in reference.group(f"{case}/buffers/norm.").items():
        assert difference(ranks[0].tensors[f"{case}/buffers/norm.{name}"], tensor) <= 1e-10, name


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


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, ranks):
    for rank in ranks:
        text = rank.texts.get(name, "no such case")
        missing = [word for word in ERRORS[name] if word not in text]
        assert not missing, text


@pytest.fixture(scope="module")
def peers(ranks):
    """What PyTorch's ranks found, from the same initial parameters."""
    return torch_ddp.on_ranks(torch_ddp.train_cases, len(ranks), ranks[0].group("initial/"))


@pytest.mark.parametrize("case", [case.name for case in torch_ddp.PEER_CASES])
def test_equals_pytorch(case, ranks, peers):
    tolerance = tolerance_of(case)
    for number, results in enumerate(peers):
        found, parameters = results[case]
        tensors = ranks[number].tensors
        own = tensors[f"{case}/loss_sums"] / tensors[f"{case}/rows"]
        assert numpy.abs(own - numpy.array(found)).max() <= tolerance, number
        if case == "float32_adamw":
            continue
        for name, tensor in parameters.items():
            assert difference(tensors[f"{case}/parameters/{name}"], tensor) <= tolerance, (
                number, name)
