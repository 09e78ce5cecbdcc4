"""What coordinator and worker agree on: messages, vocabulary and errors."""
