"""The matrix-multiplication rate that this machine reaches through LibTorch, float32 and bfloat16.

  python benchmarks/gemm_peak.py --num_threads 2

Prints one JSON line in GFLOP/s: the best of a few sizes and repeats, the yardstick for how much of
the machine a training step uses.
"""

import argparse
import json
import time

import torch


def gflops(size, dtype, repeats):
    """Best rate of a (rows x size) by (size x size) product."""
    rows = 2048
    a = torch.randn(rows, size).to(dtype)
    b = torch.randn(size, size).to(dtype)
    torch.mm(a, b)
    best = 0.0
    for _ in range(repeats):
        begin = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2.0 * rows * size * size / (time.perf_counter() - begin) / 1e9)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.num_threads)
    print(json.dumps({"threads": arguments.num_threads, **{
        name: round(max(gflops(size, dtype, arguments.repeats) for size in (768, 1536, 2048)), 1)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))}}))


if __name__ == "__main__":
    main()
