"""Writes yaml_types.txt: for many plain YAML scalars the Python type that PyYAML reads them as.

Usage: python yaml_types.py > yaml_types.txt      (PyYAML 6)
"""

import itertools

import yaml

WORDS = [
    "null", "Null", "NULL", "~", "true", "True", "TRUE", "false", "yes", "Yes", "YES", "no", "No",
    "on", "On", "off", "OFF", "y", "n", "Y", "N", "inf", "nan", ".inf", "-.inf", "+.inf", ".Inf",
    ".INF", ".nan", ".NaN", ".NAN", "=", "<<", "none", "None", "auto", "epoch", "16-mixed",
    "32-true", "2h", "90s", "15min", "val_loss", "a.b.c", "/tmp/x", "data/squad", "1.2.3", "v1.0",
    "2024-01-01", "2024-1-1", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00", "12:30", "1:30:45",
    "00:12:00:00", "01:02:03:04", "-1:30", "1:30.5", "0x1F", "0b101", "017", "0o17", "08", "1_000",
    "1_0.5", "e5", ".", "..", "-", "+", "-a", "+1", "-1", "1e", "1.e5", "bf16", "3d", "0-1", "1-2",
    "5f", "abc", "deadbeef", "0xzz", "10e", "1.5.", "1,000",
]
MANTISSAS = ["0", "1", "12", "0.5", ".5", "5.", "3.0", "1.25"]
EXPONENTS = ["", "e5", "e-05", "e+20", "E5", "E-5"]


def main():
    texts = WORDS + [
        sign + mantissa + exponent
        for sign, mantissa, exponent in itertools.product(["", "-", "+"], MANTISSAS, EXPONENTS)
    ]
    for text in texts:
        try:
            value = yaml.safe_load(f"[{text}]")
            kind = type(value[0]).__name__ if len(value) == 1 else "str"
        except yaml.YAMLError:
            kind = "error"
        print(f"{kind}\t{text}")


if __name__ == "__main__":
    main()
