"""Training batches: conversations packed into rows, each seeing only itself. Knows no model weights."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from jangtq_demo.corpus.conversation import Conversation, render
from jangtq_demo.corpus.mixture import make_conversation
from jangtq_demo.model import View
from jangtq_demo.settings import TrainingSettings

UNTRAINED: Final = -100
_NUMBERS_A_BATCH: Final = 10_000
_MISSES: Final = 8
"""A batch is full when so many conversations in a row found no place."""


@dataclass(frozen=True)
class Example:
    """Token ids of a conversation; targets are the following token where it is trained, else UNTRAINED."""

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """int64 [rows, length] each; `documents` numbers the conversations of a row from 1, 0 is padding."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    documents: Tensor

    def to(self, device: torch.device) -> "Batch":
        parts = (self.tokens, self.targets, self.positions, self.documents)
        return Batch(*(part.to(device, non_blocking=True) for part in parts))

    @property
    def view(self) -> View:
        """Causal, within one conversation."""
        length = self.tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.tokens.device).tril()
        same = self.documents[:, :, None] == self.documents[:, None, :]
        active = self.documents.flatten().nonzero().squeeze(1)
        return View(self.positions, (causal & same)[:, None], active)


def encode_example(tokenizer: Tokenizer, conversation: Conversation) -> Example:
    """The last token predicts nothing and is dropped."""
    tokens: list[int] = []
    trained: list[bool] = []
    for segment in render(conversation):
        ids = tokenizer.encode(segment.text, add_special_tokens=False).ids
        tokens += ids
        trained += [segment.trained] * len(ids)
    targets = np.where(trained, tokens, UNTRAINED)
    return Example(np.array(tokens[:-1], dtype=np.int64), targets[1:].astype(np.int64))


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
            made = make_conversation(self._settings.seed, conversation)
            example = encode_example(self._tokenizer, made)
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
    tokens, positions, documents = (torch.zeros(len(rows), length, dtype=torch.int64) for _ in range(3))
    targets = torch.full((len(rows), length), UNTRAINED, dtype=torch.int64)
    for row, examples in enumerate(rows):
        start = 0
        for document, example in enumerate(examples, 1):
            end = start + len(example.tokens)
            tokens[row, start:end] = torch.from_numpy(example.tokens)
            targets[row, start:end] = torch.from_numpy(example.targets)
            positions[row, start:end] = torch.arange(end - start)
            documents[row, start:end] = document
            start = end
    return Batch(tokens, targets, positions, documents)
