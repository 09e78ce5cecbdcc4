"""Anthropic's endpoints: messages and token counts."""
