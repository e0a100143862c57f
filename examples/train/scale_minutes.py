"""Prints a training config whose legs take a given number of minutes together: `scale_minutes.py CONFIG MINUTES > NEW`.

The proportions stay. A config whose legs have no minutes is printed as it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MINUTES = re.compile(r"^minutes = ([0-9.]+)", re.MULTILINE)


def scale_minutes(text: str, total: float) -> str:
    """Every line `minutes = …` times one factor."""
    planned = sum(float(value) for value in MINUTES.findall(text))
    if planned == 0:
        return text
    return MINUTES.sub(lambda line: f"minutes = {float(line[1]) * total / planned:.4g}", text)


if __name__ == "__main__":
    print(scale_minutes(Path(sys.argv[1]).read_text(), float(sys.argv[2])), end="")
