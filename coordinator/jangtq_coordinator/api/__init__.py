"""The HTTP API in front of the engine: OpenAI's chat completions, models and health."""
