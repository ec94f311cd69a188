"""Writes ../unicode_tables.cpp: the character tables of the pinned `tokenizers` package.

Every property comes from asking the package about every code point, never from another Unicode
library, because their versions and categories differ. Also checks what the C++ code relies on
(formula for Hangul, plain ASCII). Run it after changing the pinned version:

    python examples/bert_squad/tools/make_unicode_tables.py            # writes the file
    python examples/bert_squad/tools/make_unicode_tables.py --check    # compares only
"""

import argparse
import pathlib
import sys

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

PINNED_VERSION = "0.23.3"
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "unicode_tables.cpp"

DROPPED, SPACE, PUNCTUATION, CHINESE, MARK = 1, 2, 4, 8, 16
HANGUL_FIRST, HANGUL_COUNT = 0xAC00, 11172


def bert_normalizer(clean=False, chinese=False, strip=False, lower=False):
    return BertNormalizer(
        clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower
    ).normalize_str


clean = bert_normalizer(clean=True)
split_chinese = bert_normalizer(chinese=True)
strip = bert_normalizer(strip=True)
lower = bert_normalizer(lower=True)
nfd = NFD().normalize_str
pre_tokenize = BertPreTokenizer().pre_tokenize_str


def code_points():
    return (code for code in range(0x110000) if not 0xD800 <= code < 0xE000)


def flags_of(char):
    flags = 0
    cleaned = clean(char)
    pieces = [text for text, _ in pre_tokenize("a" + char + "a")]
    if cleaned == "":
        flags |= DROPPED
    elif cleaned == " ":
        flags |= SPACE
    elif cleaned != char:
        raise SystemExit(f"cleaning U+{ord(char):04X} gives {cleaned!r}: not foreseen")
    if pieces == ["a", "a"]:
        # Cleaning and splitting must agree: then one flag is enough.
        if not flags & (SPACE | DROPPED):
            raise SystemExit(f"U+{ord(char):04X} separates words but is not cleaned")
    elif pieces == ["a", char, "a"]:
        flags |= PUNCTUATION
    elif pieces != ["a" + char + "a"]:
        raise SystemExit(f"U+{ord(char):04X} splits into {pieces!r}: not foreseen")
    chinese = split_chinese(char)
    if chinese == f" {char} ":
        flags |= CHINESE
    elif chinese != char:
        raise SystemExit(f"U+{ord(char):04X} becomes {chinese!r}: not foreseen")
    if nfd(char) == char and strip(char) == "":
        flags |= MARK
    return flags


def combining_ranks():
    """Canonical combining classes as ranks: only their order is observable, and only it matters."""
    lowest, highest = "\u0334", "\u0345"
    nonstarters = [
        char
        for char in map(chr, code_points())
        if nfd(char) == char
        and (nfd(char + lowest) == lowest + char or nfd(highest + char) == char + highest)
        and char not in (lowest, highest)
    ] + [lowest, highest]
    above = {a: sum(nfd(a + b) == b + a != a + b for b in nonstarters) for a in nonstarters}
    order = {count: rank for rank, count in enumerate(sorted(set(above.values())), start=1)}
    return {char: order[count] for char, count in above.items()}


def check_hangul(decompositions):
    for index in range(HANGUL_COUNT):
        parts = [0x1100 + index // 588, 0x1161 + index % 588 // 28]
        if index % 28:
            parts.append(0x11A7 + index % 28)
        if decompositions.pop(HANGUL_FIRST + index) != parts:
            raise SystemExit(f"U+{HANGUL_FIRST + index:04X} does not follow the Hangul formula")


def check_assumptions(flags, ranks, decompositions, lowercases):
    """What char_actions.cpp takes for granted."""
    for code in code_points():
        parts = decompositions.get(code, [code])
        text = "".join(chr(part) for part in parts if not flags[part] & MARK)
        if strip(chr(code)) != text:
            raise SystemExit(f"stripping U+{code:04X} is not NFD without its marks")
        odd = [p for p in parts if ranks.get(chr(p)) and not flags[p] & MARK]
        if odd and any(flags[p] & ~MARK or p in lowercases for p in parts):
            raise SystemExit(f"U+{code:04X} is reordered and also changed otherwise")
    for code in range(128):
        if code in decompositions or len(lowercases.get(code, [0])) != 1:
            raise SystemExit(f"ASCII {code} does not map to one character")


def make_ranges(flags, ranks):
    ranges = []
    for code in code_points():
        entry = (flags[code], ranks.get(chr(code), 0))
        if not ranges or ranges[-1][1:] != entry:
            ranges.append((code, *entry))
    return ranges


def rows(items, width=98):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > width:
            lines.append(line)
            line = "   "
        line += " " + item + ","
    return "\n".join(lines + [line])


def hexes(codes):
    return ", ".join(f"0x{code:X}" for code in codes)


def render(ranges, decompositions, lowercases):
    return f"""\
// Generated by tools/make_unicode_tables.py from tokenizers {PINNED_VERSION}; do not edit.
#include "unicode_tables.h"

namespace bert_squad {{
namespace {{

// clang-format off
constexpr CharRange kRanges[] = {{
{rows(f"{{0x{first:X}, {flags}, {rank}}}" for first, flags, rank in ranges)}
}};

constexpr CharDecomposition kDecompositions[] = {{
{rows(f"{{0x{code:X}, {{{hexes(parts)}}}}}" for code, parts in decompositions.items())}
}};

constexpr CharLowercase kLowercases[] = {{
{rows(f"{{0x{code:X}, {{{hexes(parts)}}}}}" for code, parts in lowercases.items())}
}};
// clang-format on

}}  // namespace

std::span<const CharRange> char_ranges() {{ return kRanges; }}

std::span<const CharDecomposition> char_decompositions() {{ return kDecompositions; }}

std::span<const CharLowercase> char_lowercases() {{ return kLowercases; }}

}}  // namespace bert_squad
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file, write nothing")
    arguments = parser.parse_args()
    if tokenizers.__version__ != PINNED_VERSION:
        raise SystemExit(f"tokenizers {tokenizers.__version__} is installed, not {PINNED_VERSION}")

    flags = {code: flags_of(chr(code)) for code in code_points()}
    ranks = combining_ranks()
    decompositions, lowercases = {}, {}
    for code in code_points():
        char = chr(code)
        if nfd(char) != char:
            decompositions[code] = [ord(part) for part in nfd(char)]
        if lower(char) != char:
            lowercases[code] = [ord(part) for part in lower(char)]
    check_assumptions(flags, ranks, decompositions, lowercases)
    check_hangul(decompositions)
    ranges = make_ranges(flags, ranks)

    text = render(ranges, decompositions, lowercases)
    summary = f"{len(ranges)} ranges, {len(decompositions)} decompositions, {len(lowercases)} cases"
    if not arguments.check:
        OUTPUT.write_text(text)
        print(f"{OUTPUT}: {summary}")
    elif OUTPUT.read_text() != text:
        raise SystemExit(f"{OUTPUT} differs from tokenizers {PINNED_VERSION}: generate it again")
    else:
        print(f"{OUTPUT} is up to date: {summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
