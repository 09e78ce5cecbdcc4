"""An answer from its tokens to what clients get: the same wherever they cut it, characters included."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlocks, Step
from jangtq_coordinator.engine.events import Finished, TokenGenerated
from jangtq_coordinator.engine.output import RequestOutput
from jangtq_coordinator.text.answer_text import AnswerText
from jangtq_coordinator.text.detokenizer import ByteDetokenizer
from jangtq_coordinator.text.reasoning import Channel, Opening, ReasoningMarkers

SCHEMAS = {
    "f": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "maybe": {"type": ["string", "null"]},
            "number": {"type": "number"},
            "items": {"type": "array"},
        },
    }
}
Told = list[tuple[Channel, str, str]]

# Near to the markers, without being them.
words = st.lists(
    st.sampled_from(
        ["a", " ", "é", "🌍", "<", "</thin", "<minimax:", "null", "\n", "</para", ">", '"', "\\"]
    ),
    min_size=1,
    max_size=6,
).map("".join)
texts = words.filter(lambda text: text.strip("\n") == text)
values = st.one_of(
    st.tuples(st.just("text"), words | st.sampled_from(["", "null", " null", "</parameter>x", "1e999"])),
    st.tuples(st.just("maybe"), words | st.just("")),
    st.tuples(st.just("number"), st.sampled_from(["1e999", "-0.50", "12345678901234567890", "seven"])),
    st.tuples(st.just("items"), st.sampled_from(["[1, 2]", '["</parameter>"]', "[1e999]", "[1"])),
)
calls = st.lists(st.lists(values, max_size=3, unique_by=lambda pair: pair[0]), max_size=2)


def write(thought: str, said: str, made: list[list[tuple[str, str]]]) -> str:
    """As the chat template writes an answer."""
    text = f"{thought}\n</think>\n\n{said}"
    if not made:
        return text
    invokes = [
        '<invoke name="f">\n'
        + "".join(f'<parameter name="{k}">{v}</parameter>\n' for k, v in one)
        + "</invoke>\n"
        for one in made
    ]
    return f"{text}\n<minimax:tool_call>\n{''.join(invokes)}</minimax:tool_call>"


def tell(parts: Sequence[bytes], stops: Sequence[str] = ()) -> Told:
    """What a client puts together from an answer whose tokens are `parts`."""
    text = AnswerText(
        ByteDetokenizer([*parts, b""]),
        stops=stops,
        markers=ReasoningMarkers(),
        opening=Opening(Channel.REASONING),
        tool_calls=True,
    )
    answer, transcript, streamed = (
        RequestOutput(text, prompt_tokens=1),
        AnswerBlocks(SCHEMAS, lambda token: [*parts, b""][token]),
        dict[int, str](),
    )
    for token in range(len(parts) + 1):
        for event in answer.add(token, "stop" if token == len(parts) else None):
            assert isinstance(event, TokenGenerated | Finished)
            for change in transcript.add(event):
                if change.step is Step.DELTA:
                    streamed[change.block.index] = streamed.get(change.block.index, "") + change.text
        if transcript.end:
            break
    assert [streamed.get(block.index, "") for block in transcript.blocks] == [
        b.text for b in transcript.blocks
    ]
    return [(block.channel, block.name, block.text) for block in transcript.blocks]


def cut(text: str, places: Sequence[int]) -> list[bytes]:
    data = text.encode()
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip(ends, ends[1:], strict=False)]


def expected_value(name: str, text: str) -> object:
    """What the model wrote, where the schema allows that, else the same as text."""
    if name == "maybe" and text == "null":
        return None
    if name in ("number", "items") and text not in ("1e999", "seven", "[1e999]", "[1"):
        return json.loads(text)
    return text


@given(texts, texts, calls, st.lists(st.integers(0, 600), max_size=12))
def test_the_parts_of_an_answer_wherever_it_is_cut(
    thought: str, said: str, made: list[list[tuple[str, str]]], places: list[int]
) -> None:
    text = write(thought, said, made)
    told = tell(cut(text, places))
    assert told == tell([text.encode()]) == tell([bytes([byte]) for byte in text.encode()])
    assert told[:2] == [(Channel.REASONING, "", thought), (Channel.CONTENT, "", said)]
    assert [(channel, name) for channel, name, _ in told[2:]] == [(Channel.TOOL, "f")] * len(made)
    for (_, _, arguments), one in zip(told[2:], made, strict=True):
        assert json.loads(arguments) == {key: expected_value(key, value) for key, value in one}


def test_every_single_cut() -> None:
    made = [[("text", " a\n</parameter>é"), ("maybe", "null")], [("number", "1e999")]]
    text = write("Hm 🌍", "So.", made)
    whole = tell([text.encode()], ["So.!", "</minimax"])
    for place in range(len(text.encode())):
        assert tell(cut(text, [place]), ["So.!", "</minimax"]) == whole


@given(texts, calls, st.integers(0, 600))
def test_no_markup_reaches_the_content_when_an_answer_ends_anywhere(
    said: str, made: list[list[tuple[str, str]]], place: int
) -> None:
    text = write("Hm", said, made)
    ended = text.encode()[: place % (len(text.encode()) + 1)]
    content = "".join(part for channel, _, part in tell([ended]) if channel is Channel.CONTENT)
    # A marker may be cut in itself only where tokens spell it.
    assert f"{said}\n<minimax:tool_call".startswith(content.rstrip("\ufffd"))
