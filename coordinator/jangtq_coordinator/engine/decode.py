"""The sequences that decode together: one pass for all, which also checks their drafts."""

from collections.abc import Collection, Sequence

import mlx.core as mx

from jangtq_coordinator.engine.loaded_model import LanguageModel
from jangtq_coordinator.engine.sequence import TokenSequence, TokenStep
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.sampling.sampler import Pick, Row, pick_tokens

Draft = tuple[int, ...]


class DecodingBatch:
    """Row i of the KV cache belongs to `sequences[i]`."""

    def __init__(self, model: LanguageModel, stop_tokens: frozenset[int]) -> None:
        self._model = model
        self._stop_tokens = stop_tokens
        self.sequences: list[TokenSequence] = []
        self.kv: BatchCache | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    def join(self, sequence: TokenSequence, kv: BatchCache) -> None:
        """Add a sequence and its KV, which holds all its tokens except the last."""
        if self.kv is None:
            self.kv = kv
        else:
            self.kv.join(kv)
        self.sequences.append(sequence)

    def drop(self, uids: Collection[int]) -> None:
        """Remove sequences; unknown uids are ignored."""
        kept = [row for row, sequence in enumerate(self.sequences) if sequence.uid not in uids]
        if len(kept) == len(self.sequences):
            return
        self.sequences = [self.sequences[row] for row in kept]
        if not kept:
            self.kv = None
        elif self.kv:
            self.kv.keep(kept)

    def next(self, drafts: Sequence[Draft]) -> list[TokenStep]:
        """One pass: a token of every sequence, and one more for each token of its draft that was right.

        A draft never changes an answer: each token is picked as without a draft, and the first that differs
        ends what is accepted. A pass that fails changes nothing.
        """
        assert self.kv is not None
        for sequence, draft in zip(self.sequences, drafts, strict=True):
            sequence.sampler.look_ahead(draft)
        before = self.kv.lengths
        try:
            logits = self._model(self._inputs(drafts), cache=list(self.kv.layers))
            picks = iter(self._pick(logits, drafts))
        except BaseException:
            self.kv.cut(before)
            raise
        steps: list[TokenStep] = []
        for sequence, draft in zip(self.sequences, drafts, strict=True):
            own = [next(picks) for _ in range(len(draft) + 1)]
            steps += self._take(sequence, own, draft)
        self.kv.cut([len(sequence.tokens) - 1 for sequence in self.sequences])
        return steps

    def _inputs(self, drafts: Sequence[Draft]) -> mx.array:
        """[rows, 1 + longest draft] ids; shorter drafts end in copies of their last token."""
        width = 1 + max(map(len, drafts))
        rows = [[s.tokens[-1], *draft] for s, draft in zip(self.sequences, drafts, strict=True)]
        return mx.array([row + row[-1:] * (width - len(row)) for row in rows])

    def _pick(self, logits: mx.array, drafts: Sequence[Draft]) -> list[Pick]:
        """The picks of every position, row by row."""
        width, vocabulary = logits.shape[1:]
        rows = [
            Row(sequence.sampler, draft[:count])
            for sequence, draft in zip(self.sequences, drafts, strict=True)
            for count in range(len(draft) + 1)
        ]
        flat = logits.reshape(-1, vocabulary)
        if len(rows) < len(flat):
            places = [row * width + i for row, draft in enumerate(drafts) for i in range(len(draft) + 1)]
            flat = flat[mx.array(places)]
        return pick_tokens(flat, rows)

    def _take(self, sequence: TokenSequence, picks: Sequence[Pick], draft: Draft) -> list[TokenStep]:
        steps: list[TokenStep] = []
        for pick, guessed in zip(picks, (*draft, None), strict=True):
            steps.append(sequence.take(pick, self._stop_tokens))
            if steps[-1].is_last or pick.token != guessed:
                break
        return steps
