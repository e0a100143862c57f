"""Write `docs/options.md` from the JSON Schema of the options.

python docs/scripts/write_options.py > docs/options.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from mast3r_engine.pairs.graph import COMPLETE_UP_TO
from services.contract.options import options_schema
from services.contract.presets import PRESETS

HEAD = """\
# Options

What a reconstruction may be told. The service, the command line and the library have the same options, with the same names:

```
curl -F images=@a.jpg -F images=@b.jpg -F 'options={"scene_graph": "complete", "matching": {"subsample": 4}}' \\
  http://127.0.0.1:8000/v1/reconstructions
m3r reconstruct photos/ --options '{"scene_graph": "complete", "matching": {"subsample": 4}}'
```

```python
from mast3r_engine import MatchingOptions, Options

Options(scene_graph="complete", matching=MatchingOptions(subsample=4))
```

An unknown option, or a value out of bounds, is refused before anything runs
([`invalid_options`](troubleshooting.md#invalid_options)). This page is written from the JSON Schema that a running service gives
at `GET /v1/options`; `docs/scripts/write_options.py` does it.

| option | type | default | what it does |
|---|---|---|---|
"""

GRAPHS = f"""
## Which pairs are looked at

The time of a job grows with the number of pairs. `scene_graph` chooses them:

| graph | pairs | for |
|---|---|---|
| `auto` | all of up to {COMPLETE_UP_TO} photographs; beyond that those 1, 2, 4, 8 … places apart | most sets |
| `complete` | every photograph with every other | few photographs, no order |
| `swin-W` | each with the next W, and from the last on to the first | a walk around something |
| `swin-W-noncyclic` | the same, not from the last to the first | a corridor, a video |
| `logwin-W` | the same with those 1, 2, 4, 8 … places further on, W of them; `-noncyclic` too | long sequences |
| `oneref-R` | each with photograph number R, from 0 | one overview and details of it |

The order is that of the photographs' names in a capture and on the command line, and as they are given in a one-shot request and
in the library. `pairs` replaces the graph by a list of your own, `[[0, 1], [1, 2]]`, numbered so from 0.

## Presets

A job's `preset` is a set of options; what the job says itself goes over it.

| preset | options |
|---|---|
"""


def main() -> None:
    """Print the page."""
    sys.stdout.write(options_page())


def options_page() -> str:
    """The whole page."""
    schema = options_schema()
    presets = "".join(
        f"| `{name}` | {_code(json.dumps(chosen)) if chosen else 'the defaults'} |\n" for name, chosen in PRESETS.items()
    )
    return HEAD + "".join(rows(schema, schema, "")) + GRAPHS + presets


def rows(schema: dict[str, Any], part: dict[str, Any], prefix: str) -> Iterator[str]:
    """One line of the table for each option, nested ones under their dotted names."""
    for name, described in part["properties"].items():
        if "$ref" in described:
            yield from rows(schema, schema["$defs"][described["$ref"].rpartition("/")[2]], f"{prefix}{name}.")
            continue
        words = described.get("description", WITHOUT_WORDS.get(name, "")).replace("|", "\\|")
        yield f"| `{prefix}{name}` | {_type_of(described)} | {_code(json.dumps(described['default']))} | {words} |\n"


WITHOUT_WORDS = {"seed": "of everything that is drawn by chance; the same seed gives the same result"}


def _type_of(described: dict[str, Any]) -> str:
    if "enum" in described:
        return ", ".join(_code(str(value)) for value in described["enum"])
    kinds = described["type"] if isinstance(described["type"], list) else [described["type"]]
    return " or ".join(kinds) + _bounds(described)


def _bounds(described: dict[str, Any]) -> str:
    least, most = described.get("minimum"), described.get("maximum")
    if least is None:
        return ""
    return f", {least:g} or more" if most is None else f", {_grouped(least)} to {_grouped(most)}"


def _grouped(value: float) -> str:
    return f"{value:,}".replace(",", " ")


def _code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    main()
