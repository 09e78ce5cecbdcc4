"""The coordinator: everything of the model but the routed experts, and the API in front of it."""
