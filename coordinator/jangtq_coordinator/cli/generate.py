"""`jangtq-coord generate`: one answer in the terminal, without a server."""

import asyncio
import sys
import time

from jangtq_bundle.holdings import Holdings
from jangtq_bundle.opening import open_model
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.assembly.loader import loader, row_type_of
from jangtq_coordinator.cli.command_settings import Question
from jangtq_coordinator.cli.terminal import AnswerPrinter
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.engine.events import Failed, Finished, TokenGenerated
from jangtq_coordinator.engine.request import GenerationRequest
from jangtq_coordinator.text.chat_template import ChatTemplate
from jangtq_coordinator.text.reasoning import Channel, Piece
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import expert_ids


def generate(settings: ClusterSettings, question: Question) -> None:
    """Print one answer as it comes, its reasoning to the standard error. Raises JangtqError."""
    prompt = _prompt(question)
    bundle = open_model(settings.model, Holdings(expert_ids(settings.local_ranges), has_dense=True))
    cluster = connect(bundle, settings, row_type=row_type_of(settings))
    engine = Engine(loader(bundle, cluster, settings), settings=EngineSettings(batch_size=1))
    try:
        engine.start()
        asyncio.run(_print_answer(engine, question, prompt))
    finally:
        engine.stop(grace_seconds=0)
        cluster.close()


def _prompt(question: Question) -> str:
    """What to ask. Raises ConfigurationError where there is nothing."""
    if question.prompt is not None:
        return question.prompt
    if sys.stdin.isatty():
        print("type the question, then Ctrl-D (or give it by --prompt)", file=sys.stderr, flush=True)
    text = sys.stdin.read().strip()
    if not text:
        raise ConfigurationError("nothing to ask: give --prompt TEXT, or the question on the standard input")
    return text


async def _print_answer(engine: Engine, question: Question, prompt: str) -> None:
    printer = AnswerPrinter(reasoning_to=sys.stderr)
    started = time.perf_counter()
    async for event in engine.submit(_request(engine, question, prompt)):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, TokenGenerated | Finished):
            _show(printer, event.pieces)
        if isinstance(event, Finished):
            seconds = time.perf_counter() - started
            tokens = event.usage.completion_tokens
            print(flush=True)
            print(f"{tokens} tokens in {seconds:.1f} s ({event.reason})", file=sys.stderr)


def _request(engine: Engine, question: Question, text: str) -> GenerationRequest:
    loaded = engine.loaded
    messages: list[dict[str, object]] = [{"role": "user", "content": text}]
    if question.system is not None:
        messages.insert(0, {"role": "system", "content": question.system})
    prompt = ChatTemplate(loaded.tokenizer, loaded.capabilities.markers).render(messages, {})
    return GenerationRequest(
        prompt.tokens,
        sampling=loaded.generation.sampling.override(temperature=question.temperature, seed=question.seed),
        max_tokens=question.max_tokens,
        opening=prompt.opening,
    )


def _show(printer: AnswerPrinter, pieces: tuple[Piece, ...]) -> None:
    for piece in pieces:
        (printer.reasoning if piece.channel is Channel.REASONING else printer.content)(piece.text)
