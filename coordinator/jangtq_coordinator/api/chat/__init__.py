"""What the chat APIs have in common: fields of requests, prompts, and the blocks of an answer."""
