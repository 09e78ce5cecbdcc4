"""The demo model's held-out questions, how answers are judged, and the evaluation against an API."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from jangtq_demo import evaluate
from jangtq_demo.answer_text import parse_answer
from jangtq_demo.corpus.conversation import ToolCall
from jangtq_demo.questions import (
    COUNTS,
    TOOL_COUNT,
    Question,
    ToolAnswer,
    ToolAnswers,
    ToolQuestion,
    Way,
    draw_questions,
    draw_tool_questions,
    judge,
    judge_call,
    tally,
    tally_tools,
)

QUESTIONS = {question.text: question for question in draw_questions()}
TOOL_QUESTIONS = {(question.text, json.dumps(question.tools)): question for question in draw_tool_questions()}


def test_questions_are_the_same_every_time_and_as_many_as_said() -> None:
    assert draw_questions() == draw_questions()
    assert len(draw_questions()) == sum(COUNTS.values())
    assert len(draw_tool_questions()) == TOOL_COUNT


def test_right_answers_score_in_full_and_silence_scores_nothing() -> None:
    questions, tool_questions = draw_questions(share=0.2), draw_tool_questions(share=0.2)
    right = tally(questions, [question.answer for question in questions])
    right |= tally_tools(tool_questions, [perfect(question) for question in tool_questions])
    assert {score.share for score in right.values()} == {1.0}
    silent = tally(questions, [""] * len(questions))
    silent |= tally_tools(tool_questions, [dict.fromkeys(Way, ToolAnswer())] * len(tool_questions))
    assert silent.keys() == right.keys()
    assert {score.right for score in silent.values()} == {0.0}


def perfect(question: ToolQuestion) -> ToolAnswers:
    return dict.fromkeys(Way, ToolAnswer((question.call,), question.answer))


def test_a_way_of_holding_the_conversation_has_its_own_scores() -> None:
    [question] = draw_tool_questions(share=0.001)
    answers = {**perfect(question), Way.WITHHELD: ToolAnswer((question.call,), ""), Way.SILENT: ToolAnswer()}
    right = {name: score.right for name, score in tally_tools([question], [answers]).items()}
    assert right == {
        "tool calls": 1,
        "tool calls: without thinking": 0,
        "tool results": 1,
        "tool results: reasoning not sent back": 0,
        "tool results: without thinking": 0,
    }


def test_a_topic_scores_by_sentences_and_arithmetic_by_the_whole() -> None:
    topic = next(question for question in QUESTIONS.values() if question.category == "topics")
    sentences = topic.answer.split(". ")
    assert judge(topic, ". ".join(sentences[:2]) + ".") == pytest.approx(2 / 5)
    sum_ = next(question for question in QUESTIONS.values() if question.kind == "addition")
    assert judge(sum_, sum_.answer + " ") == 1
    assert judge(sum_, sum_.answer.replace("=", "is")) == 0


def test_a_call_must_be_single_and_right_in_every_argument() -> None:
    question = next(q for q in TOOL_QUESTIONS.values() if len(q.call.arguments) > 1)
    name, arguments = question.call.name, dict(question.call.arguments)
    texts = {key: str(value) for key, value in arguments.items()}
    assert judge_call(question, [ToolCall(name, texts)]) == 1
    assert judge_call(question, [ToolCall("other", texts)]) == 0
    assert judge_call(question, [ToolCall(name, texts)] * 2) == 0
    for key in texts:
        assert judge_call(question, [ToolCall(name, texts | {key: "x"})]) == 0
        assert judge_call(question, [ToolCall(name, {k: v for k, v in texts.items() if k != key})]) == 0


def test_answers_are_taken_apart() -> None:
    text = (
        'I call it.\n</think>\n\n\n<minimax:tool_call>\n<invoke name="clock">\n'
        '<parameter name="city">Bad Ems</parameter>\n</invoke>\n</minimax:tool_call>'
    )
    parsed = parse_answer(text)
    assert (parsed.reasoning, parsed.content) == ("I call it.", "")
    assert parsed.calls == (ToolCall("clock", {"city": "Bad Ems"}),)
    assert parse_answer("Hm.\n</think>\n\nYes.").content == "Yes."
    assert parse_answer("never ends").content == ""
    assert parse_answer("Yes.", thinking=False).content == "Yes."
    assert parse_answer(text.partition("</think>")[2], thinking=False).calls == parsed.calls


class Oracle(BaseHTTPRequestHandler):
    """An API that knows every answer but those to sums and differences.

    Without the reasoning of a call it does not know what to make of the tool's result.
    """

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = self._tool_message(body) if "tools" in body else self._message(body)
        data = json.dumps({"choices": [{"message": message}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _message(self, body: dict[str, list[dict[str, str]]]) -> dict[str, object]:
        question: Question = QUESTIONS[body["messages"][0]["content"]]
        known = question.kind not in ("addition", "subtraction")
        return {"role": "assistant", "content": question.answer if known else "?"}

    def _tool_message(self, body: dict[str, list[dict[str, str]]]) -> dict[str, object]:
        question: ToolQuestion = TOOL_QUESTIONS[
            body["messages"][0]["content"], json.dumps([tool["function"] for tool in body["tools"]])
        ]
        thinks = "chat_template_kwargs" not in body
        if body["messages"][-1]["role"] == "tool":
            assert body["messages"][-1]["tool_call_id"] == "one"
            knows = "reasoning_content" in body["messages"][-2] or not thinks
            return {"role": "assistant", "content": question.answer if knows else ""}
        function = {"name": question.call.name, "arguments": json.dumps(dict(question.call.arguments))}
        call = {"id": "one", "type": "function", "function": function}
        thought = {"reasoning_content": "I call it."} if thinks else {}
        return {"role": "assistant", "content": None, "tool_calls": [call], **thought}

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def oracle_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Oracle) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_evaluation_scores_what_the_api_answers(
    oracle_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, failures = tmp_path / "scores.json", tmp_path / "failures.jsonl"
    arguments = [oracle_url, "--share", "0.1", "--out", str(out), "--failures", str(failures)]
    assert evaluate.main(arguments) == 1
    scores = json.loads(out.read_text(encoding="utf-8"))
    missed = [name for name, (right, asked) in scores.items() if right < asked]
    withheld = "tool results: reasoning not sent back"
    assert sorted(missed) == ["arithmetic", "arithmetic: addition", "arithmetic: subtraction", withheld]
    assert scores["arithmetic: addition"][0] == 0
    kinds = [json.loads(line)["kind"] for line in failures.read_text(encoding="utf-8").splitlines()]
    assert set(kinds) == {"addition", "subtraction", "tool, reasoning not sent back"}
    right, asked = scores["arithmetic"]
    assert len(kinds) == asked - right + scores[withheld][1]
    assert f"arithmetic: {right / asked:.1%}, the goal is 90%" in capsys.readouterr().err
