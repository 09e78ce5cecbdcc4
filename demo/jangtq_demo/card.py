"""`python -m jangtq_demo.card`: puts the numbers of demo/results into demo/CARD.md. Measures nothing."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

DEMO: Final = Path(__file__).parents[1]
_CATEGORIES: Final = {
    "arithmetic": "arithmetic",
    "tool calls": "tool calls",
    "tool results": "tool results",
    "tool results: reasoning not sent back": "not sent back",
    "tool results: without thinking": "no thinking",
    "topics": "topics",
    "words": "words",
    "calendar and units": "dates, units",
    "refusals": "refusals",
}
_FORMATS: Final = {
    "float32": "float32",
    "JANGTQ2": "JANGTQ2",
    "JANGTQ_K": "JANGTQ_K",
    "JANGTQ4": "JANGTQ4",
    "affine2": "affine 2-bit, all",
    "affine3": "affine 3-bit, all",
    "affine4": "affine 4-bit, all",
    "affine2-experts": "affine 2-bit experts",
    "affine3-experts": "affine 3-bit experts",
    "affine4-experts": "affine 4-bit experts",
}


@dataclass(frozen=True)
class Measured:
    """One file of demo/results: scores as right and asked, loads as rows of each expert by layer."""

    format: str
    stored_bytes: int
    perplexity: float
    scores: Mapping[str, tuple[float, int]]
    loads: Sequence[Sequence[int]]


def read_measured(path: Path) -> Measured:
    found = json.loads(path.read_text(encoding="utf-8"))
    scores = {name: (float(right), int(asked)) for name, (right, asked) in found["scores"].items()}
    return Measured(found["format"], found["bytes"], found["perplexity"], scores, found["loads"])


def format_table(measured: Iterable[Measured]) -> str:
    """A row for each format: bytes, perplexity and shares in per cent."""
    by_format = {each.format: each for each in measured}
    head = ["format", "MB", "perplexity", *_CATEGORIES.values()]
    rows = [_format_row(title, by_format[name]) for name, title in _FORMATS.items() if name in by_format]
    return _table(head, rows)


def category_table(scores: Mapping[str, tuple[float, int]]) -> str:
    """A row for each category and each kind within it."""
    rows = [
        [name.replace(": ", " / "), f"{right:g}", str(asked), f"{right / asked:.1%}"]
        for name, (right, asked) in sorted(scores.items())
    ]
    return _table(["category", "right", "asked", "share"], rows)


def load_table(loads: Sequence[Sequence[int]]) -> str:
    """Rows each expert computed over the held-out questions, the mean being 1."""
    rows = []
    for layer, counts in enumerate(loads):
        shares = sorted(count / mean(counts) for count in counts)
        tenth = len(shares) // 10
        marks = (shares[0], shares[tenth], shares[len(shares) // 2], shares[-tenth - 1], shares[-1])
        rows.append([str(layer), *(f"{mark:.2f}" for mark in marks), str(counts.count(0))])
    return _table(["layer", "least", "10th of 100", "median", "90th of 100", "most", "idle experts"], rows)


def fill_card(card: str, blocks: Mapping[str, str]) -> str:
    """The card with each named block replaced. Raises ValueError for a block that the card lacks."""
    for name, text in blocks.items():
        before, start, rest = card.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- end of {name} -->")
        if not start or not end:
            raise ValueError(f"the card has no block {name!r}")
        card = f"{before}{start}{text}{end}{after}"
    return card


def read_blocks(results: Path) -> Mapping[str, str]:
    """All measured blocks of the card."""
    cluster = json.loads((results / "cluster.json").read_text(encoding="utf-8"))
    shipped = read_measured(results / "quantized" / "JANGTQ2.json")
    return {
        "shipped": category_table({name: (right, asked) for name, (right, asked) in cluster.items()}),
        "float formats": format_table(map(read_measured, sorted((results / "float").glob("*.json")))),
        "quantized formats": format_table(map(read_measured, sorted((results / "quantized").glob("*.json")))),
        "loads": load_table(shipped.loads),
    }


def main() -> int:
    path = DEMO / "CARD.md"
    path.write_text(
        fill_card(path.read_text(encoding="utf-8"), read_blocks(DEMO / "results")), encoding="utf-8"
    )
    return 0


def _format_row(title: str, measured: Measured) -> list[str]:
    shares = [measured.scores[name] for name in _CATEGORIES]
    numbers = [f"{measured.stored_bytes / 1e6:.2f}", f"{measured.perplexity:.4f}"]
    return [title, *numbers, *(f"{100 * right / asked:.1f}" for right, asked in shares)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
