"""Messages to tokens and tokens to text: template, detokenizer, stop strings, reasoning, tool calls."""
