"""What changes training against Lightning, 100 steps in float64 on 1, 2 and 4 ranks.

The goldens are those of one process with the global batches (tests/golden/peers/record_peers.py).
"""

import functools

import numpy
import pytest
import support

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = ("accumulation", "clip_norm", "clip_value", "gan", "plateau", "ema", "swa", "finetuning",
         "max_size_cycle", "min_size", "max_size", "sequential")
GOLDENS = support.ROOT / "tests/golden/peers/peers.txt"


def read(path):
    """{(case, what): numbers}."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {(row[0], row[1]): [float(word) for word in row[2:]] for row in rows}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained(ranks): what the program wrote; it runs once for each number of ranks."""
    @functools.cache
    def train(ranks):
        folder = tmp_path_factory.mktemp(f"peers{ranks}")
        support.run(support.bin_dir() / "peers_program", ranks, folder / "peers.txt", cwd=folder)
        return read(folder / "peers.txt")

    return train


@pytest.mark.parametrize("ranks", (1, 2, 4))
@pytest.mark.parametrize("case", CASES)
def test_equals_lightning(case, ranks, trained):
    expected = {key: numbers for key, numbers in read(GOLDENS).items() if key[0] == case}
    assert expected
    for key, numbers in expected.items():
        ours = trained(ranks)[key]
        assert len(ours) == len(numbers), key
        assert numpy.allclose(ours, numbers, rtol=0, atol=1e-10), (key, ours, numbers)
