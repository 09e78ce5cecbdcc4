"""Builds the messages of a conversation from parts that come one by one. Knows no API's own spelling."""

from jangtq_coordinator.api.chat.chat_messages import (
    AssistantMessage,
    CalledFunction,
    ChatMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)


class MessageBuilder:
    """What the model said between two other messages becomes one message."""

    def __init__(self) -> None:
        self._messages: list[ChatMessage] = []
        self._content = self._reasoning = ""
        self._calls: list[ToolCall] = []
        self._speaking = False

    def say(self, role: str, text: str) -> None:
        """A message, or for the assistant a part of one."""
        if role == "assistant":
            self._speaking = True
            self._content += text
            return
        self.end_answer()
        if role == "user":
            self._messages.append(UserMessage(role="user", content=text))
        else:
            self._messages.append(SystemMessage(role="system", content=text))

    def think(self, text: str) -> None:
        """A part of the assistant's reasoning."""
        self._speaking = True
        self._reasoning += text

    def call(self, function: CalledFunction, call_id: str) -> None:
        """A call by the assistant."""
        self._speaking = True
        self._calls.append(ToolCall(id=call_id, function=function))

    def result(self, text: str, call_id: str) -> None:
        """What a call returned."""
        self.end_answer()
        self._messages.append(ToolMessage(role="tool", content=text, tool_call_id=call_id))

    def end_answer(self) -> None:
        """What the assistant says from here on is another message."""
        if self._speaking:
            answer = AssistantMessage(
                role="assistant",
                content=self._content,
                reasoning_content=self._reasoning or None,
                tool_calls=self._calls or None,
            )
            self._messages.append(answer)
        self._content, self._reasoning, self._calls, self._speaking = "", "", [], False

    @property
    def messages(self) -> list[ChatMessage]:
        """All of them so far."""
        self.end_answer()
        return self._messages
