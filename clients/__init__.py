"""Real clients against a running server: `make clients`, or CLIENTS="codex claude-code" for some of them."""
