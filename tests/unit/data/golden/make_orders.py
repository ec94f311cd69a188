"""Writes orders.txt: what the library's generator and samplers must draw, computed here from the
published algorithms (xoshiro256**, SplitMix64, Lemire's bounded numbers, Fisher-Yates) and nothing
else. With --check compares instead of writing (run as a test).
"""

import pathlib
import sys

MASK = (1 << 64) - 1
GOLDEN_GAMMA = 0x9E3779B97F4A7C15
FILE = pathlib.Path(__file__).with_name("orders.txt")


def mix_bits(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def split_mix(seed: int):
    while True:
        seed = (seed + GOLDEN_GAMMA) & MASK
        yield mix_bits(seed)


def mix_seed(seed: int, *numbers: int) -> int:
    mixed = next(split_mix(seed))
    for number in numbers:
        mixed = next(split_mix(mixed ^ number))
    return mixed


class Xoshiro256StarStar:
    def __init__(self, state):
        self.s = list(state)

    @classmethod
    def from_seed(cls, seed: int):
        words = split_mix(seed)
        return cls(next(words) for _ in range(4))

    def next(self) -> int:
        def rotl(x, k):
            return ((x << k) | (x >> (64 - k))) & MASK

        s = self.s
        result = (rotl((s[1] * 5) & MASK, 7) * 9) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        return result

    def below(self, bound: int) -> int:
        while True:
            product = self.next() * bound
            # Accept unless the low word lies in the part that would favour small results.
            if (product & MASK) >= (1 << 64) % bound:
                return product >> 64

    def uniform(self) -> float:
        return (self.next() >> 11) / (1 << 53)

    def permutation(self, size: int):
        values = list(range(size))
        for i in reversed(range(1, size)):
            j = self.below(i + 1)
            values[i], values[j] = values[j], values[i]
        return values


def random_order(size: int, seed: int, epoch: int):
    return Xoshiro256StarStar.from_seed(mix_seed(seed, epoch, 0)).permutation(size)


def length_grouped_order(lengths, seed, epoch, group_size, chunk_size):
    random = Xoshiro256StarStar.from_seed(mix_seed(seed, epoch, 0))
    shuffled = random.permutation(len(lengths))
    group_size = -(-group_size // chunk_size) * chunk_size
    grouped = []
    for begin in range(0, len(lengths), group_size):
        grouped += sorted(shuffled[begin : begin + group_size], key=lambda i: -lengths[i])
    whole = len(lengths) // chunk_size
    order = []
    for run in random.permutation(whole):
        order += grouped[run * chunk_size : (run + 1) * chunk_size]
    return order + grouped[whole * chunk_size :]


def check_against_the_publications() -> None:
    # The authors' C programs: xoshiro256** from the state 1, 2, 3, 4; SplitMix64 from 1234567.
    random = Xoshiro256StarStar([1, 2, 3, 4])
    assert [random.next() for _ in range(4)] == [11520, 0, 1509978240, 1215971899390074240]
    words = split_mix(1234567)
    assert [next(words) for _ in range(2)] == [6457827717110365317, 3203168211198807973]


def lines():
    def line(name, values):
        return name + ": " + " ".join(str(v) for v in values)

    for seed in (0, 1, 42, MASK):
        random = Xoshiro256StarStar.from_seed(seed)
        yield line(f"next seed={seed}", [random.next() for _ in range(5)])
    for bound in (1, 3, 10, 1000003, (1 << 63) + 1, MASK):
        random = Xoshiro256StarStar.from_seed(7)
        yield line(f"below bound={bound}", [random.below(bound) for _ in range(8)])
    random = Xoshiro256StarStar.from_seed(9)
    yield line("uniform times 2^53", [int(random.uniform() * (1 << 53)) for _ in range(5)])
    for numbers in ((0, 0, 0), (42, 3, 0), (42, 0, 3), (MASK, 1, 2)):
        yield line("mix_seed %d %d %d" % numbers, [mix_seed(*numbers)])
    yield line("sample seed=42 epoch=3 index=17", [mix_seed(42, 3, 18)])
    for size, seed, epoch in ((1, 0, 0), (10, 0, 0), (10, 0, 1), (10, 1, 0), (1000, 42, 3)):
        yield line(f"random size={size} seed={seed} epoch={epoch}", random_order(size, seed, epoch))
    yield line("split size=20 seed=5", Xoshiro256StarStar.from_seed(5).permutation(20))
    lengths = [(i * i * 7 + 3) % 97 for i in range(50)]
    for epoch in (0, 1):
        order = length_grouped_order(lengths, seed=3, epoch=epoch, group_size=14, chunk_size=4)
        yield line(f"length grouped epoch={epoch}", order)


def main() -> None:
    check_against_the_publications()
    text = "\n".join(lines()) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        sys.exit(f"{FILE} isn't what {pathlib.Path(__file__).name} computes")


if __name__ == "__main__":
    main()
