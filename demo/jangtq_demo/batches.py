"""Training batches: conversations packed into rows, each seeing only itself. Knows no model weights."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from jangtq_demo.corpus.talks import make_training
from jangtq_demo.examples import UNTRAINED, Example, encode_example
from jangtq_demo.model import View
from jangtq_demo.settings import TrainingSettings

_NUMBERS_A_BATCH: Final = 10_000
_MISSES: Final = 8
"""A batch is full when so many conversations in a row found no place."""


@dataclass(frozen=True)
class Batch:
    """int64 [rows, length] each; `documents` numbers the conversations of a row from 1, 0 is padding.

    `branches` numbers parts of a conversation that only they themselves see; all that follows sees 0.
    """

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    documents: Tensor
    branches: Tensor

    def to(self, device: torch.device) -> "Batch":
        parts = (self.tokens, self.targets, self.positions, self.documents, self.branches)
        return Batch(*(part.to(device, non_blocking=True) for part in parts))

    @property
    def view(self) -> View:
        """Causal, within one conversation; branches do not see each other."""
        length = self.tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.tokens.device).tril()
        same = self.documents[:, :, None] == self.documents[:, None, :]
        same &= (self.branches[:, None, :] == 0) | (self.branches[:, :, None] == self.branches[:, None, :])
        active = self.documents.flatten().nonzero().squeeze(1)
        return View(self.positions, (causal & same)[:, None], active)


class Batches(Dataset[Batch]):
    """Batch n of the corpus for every n, made on demand; the same whichever process makes it."""

    def __init__(self, tokenizer_json: str, settings: TrainingSettings, *, count: int) -> None:
        self._tokenizer_json = tokenizer_json
        self._tokenizer: Tokenizer | None = None
        self._settings = settings
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < self._count:
            raise IndexError(f"batch {number}: allowed are 0 to {self._count - 1}")
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_str(self._tokenizer_json)
        rows: list[list[Example]] = [[] for _ in range(self._settings.rows)]
        left = [self._settings.row_length] * self._settings.rows
        misses = 0
        conversation = number * _NUMBERS_A_BATCH
        while misses < _MISSES:
            made = make_training(self._settings.seed, conversation)
            example = encode_example(self._tokenizer, made, most=self._settings.row_length)
            conversation += 1
            place = next((i for i, room in enumerate(left) if room >= len(example.tokens)), None)
            if place is None:
                misses += 1
                continue
            rows[place].append(example)
            left[place] -= len(example.tokens)
        return pack(rows, self._settings.row_length)


def fill_rows(examples: Iterable[Example], length: int) -> Iterator[list[Example]]:
    """The examples in their order, as many a row as fit."""
    row: list[Example] = []
    for example in examples:
        if row and sum(len(each.tokens) for each in row) + len(example.tokens) > length:
            yield row
            row = []
        row.append(example)
    if row:
        yield row


def pack(rows: Sequence[Sequence[Example]], length: int) -> Batch:
    """Rows of examples, each row at most `length` tokens in all."""
    shape = len(rows), length
    tokens, positions, documents, branches = (torch.zeros(shape, dtype=torch.int64) for _ in range(4))
    targets = torch.full(shape, UNTRAINED, dtype=torch.int64)
    for row, examples in enumerate(rows):
        start = 0
        for document, example in enumerate(examples, 1):
            end = start + len(example.tokens)
            tokens[row, start:end] = torch.from_numpy(example.tokens)
            targets[row, start:end] = torch.from_numpy(example.targets)
            positions[row, start:end] = torch.from_numpy(example.positions)
            branches[row, start:end] = torch.from_numpy(example.branches)
            documents[row, start:end] = document
            start = end
    return Batch(tokens, targets, positions, documents, branches)
