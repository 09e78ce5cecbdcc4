"""From messages to tokens and from tokens to text: template, detokenizer, stop strings, reasoning, tool calls."""
