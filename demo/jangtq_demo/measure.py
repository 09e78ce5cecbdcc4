"""`python -m jangtq_demo.measure CHECKPOINT FORMAT OUT`: quality of a checkpoint in a format, offline."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from jangtq_bundle.byte_tokenizer import END_OF_TURN
from jangtq_demo.answer_text import parse_answer
from jangtq_demo.batches import fill_rows, pack
from jangtq_demo.checkpoint import Checkpoint, load_checkpoint
from jangtq_demo.corpus.conversation import Conversation, Message, render_system
from jangtq_demo.examples import encode_example
from jangtq_demo.formats import FORMATS, Format, apply_format
from jangtq_demo.generate import generate
from jangtq_demo.learning import batch_loss
from jangtq_demo.model import DemoModel
from jangtq_demo.questions import (
    Question,
    Scores,
    ToolAnswer,
    ToolQuestion,
    Way,
    draw_questions,
    draw_tool_questions,
    tally,
    tally_tools,
)
from jangtq_demo.tokenizer import special_id

_BATCH: Final = 640
_ROW_LENGTH: Final = 1024
_MOST_TOKENS: Final = 450
_AI: Final = "]~b]ai\n"
_THINK: Final = "<think>\n"
_THOUGHT: Final = "\n</think>\n\n"


@dataclass(frozen=True)
class Subject:
    """A model in some format, with what turns text into tokens and back."""

    model: DemoModel
    checkpoint: Checkpoint

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """The text after each prompt, up to the end of the turn."""
        tokenizer = self.checkpoint.tokenizer
        encoded = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
        answers: list[str] = []
        for start in range(0, len(prompts), _BATCH):
            written = generate(
                self.model,
                encoded[start : start + _BATCH],
                stop=special_id(tokenizer, END_OF_TURN),
                most_tokens=_MOST_TOKENS,
            )
            answers += [tokenizer.decode(tokens, skip_special_tokens=False) for tokens in written]
        return answers


def measure(
    checkpoint: Checkpoint, chosen: Format, *, device: torch.device, share: float = 1.0
) -> dict[str, object]:
    """Scores of every category, perplexity, bytes and the experts' loads. `share` cuts the questions."""
    model = checkpoint.build(device)
    stored = apply_format(model, chosen)
    subject = Subject(model, checkpoint)
    questions = draw_questions(share=share)
    tool_questions = draw_tool_questions(share=share)
    conversations = [q.conversation for q in questions] + [q.conversation for q in tool_questions]
    perplexity, loads = measure_perplexity(subject, conversations)
    return {
        "format": chosen.name,
        "bytes": stored,
        "perplexity": perplexity,
        "scores": {
            name: [score.right, score.asked]
            for name, score in (
                score_questions(subject, questions) | score_tools(subject, tool_questions)
            ).items()
        },
        "loads": loads,
    }


def score_questions(subject: Subject, questions: Sequence[Question]) -> Scores:
    texts = subject.answer([question_prompt(question.conversation) for question in questions])
    return tally(questions, [parse_answer(text).content for text in texts])


def score_tools(subject: Subject, questions: Sequence[ToolQuestion]) -> Scores:
    """Calls, and the answers that follow from what the tools returned to the right ones, in every way."""
    prompts = [question_prompt(question.conversation) for question in questions]
    bare = [prompt.removesuffix(_THINK) for prompt in prompts]
    thought, silent = subject.answer(prompts), subject.answer(bare)
    shown = [text.partition(_THOUGHT)[2] for text in thought]

    def follow(starts: Sequence[str], written: Sequence[str], begin: str) -> list[str]:
        turns = zip(starts, written, questions, strict=True)
        result = "[e~[\n]~b]tool\n<response>{}</response>[e~[\n" + begin
        return subject.answer([start + text + result.format(q.response) for start, text, q in turns])

    ways = {
        Way.THINKING: (thought, follow(prompts, thought, _AI + _THINK)),
        Way.WITHHELD: (thought, follow(bare, shown, _AI + _THINK)),
        Way.SILENT: (silent, follow(bare, silent, _AI)),
    }
    return tally_tools(
        questions,
        [
            {way: _tool_answer(texts[n], reports[n], way) for way, (texts, reports) in ways.items()}
            for n in range(len(questions))
        ],
    )


def _tool_answer(text: str, report: str, way: Way) -> ToolAnswer:
    thinking = way is not Way.SILENT
    return ToolAnswer(
        parse_answer(text, thinking=thinking).calls, parse_answer(report, thinking=thinking).content
    )


@torch.inference_mode()
def measure_perplexity(
    subject: Subject, conversations: Sequence[Conversation]
) -> tuple[float, list[list[int]]]:
    """Perplexity of the assistant's tokens, and rows each expert computed, by layer."""
    model, tokenizer = subject.model, subject.checkpoint.tokenizer
    for block in model.moe_blocks:
        block.take_load()
    total, count = 0.0, 0
    examples = [encode_example(tokenizer, conversation, most=_ROW_LENGTH) for conversation in conversations]
    for row in fill_rows(examples, _ROW_LENGTH):
        batch = pack([row], _ROW_LENGTH).to(model.lm_head.weight.device)
        trained = int((batch.targets >= 0).sum())
        total += float(batch_loss(model, batch, mixed=False)) * trained
        count += trained
    return math.exp(total / count), [block.take_load().tolist() for block in model.moe_blocks]


def question_prompt(conversation: Conversation) -> str:
    """The text up to where the model takes over."""
    question: Message = conversation.messages[0]
    return f"{render_system(conversation)}]~b]user\n{question.content}[e~[\n{_AI}{_THINK}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jangtq_demo.measure", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("format", choices=sorted(FORMATS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="ask only so many of the questions")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    checkpoint = load_checkpoint(given.checkpoint)
    result = measure(checkpoint, FORMATS[given.format], device=torch.device(given.device), share=given.share)
    given.out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "loads"}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
