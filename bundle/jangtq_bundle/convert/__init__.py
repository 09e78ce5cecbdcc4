"""Converts Hugging Face checkpoints of MiniMax-M2 to JANGTQ bundles, tensor by tensor."""
