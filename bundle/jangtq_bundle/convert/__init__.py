"""Hugging Face checkpoints of MiniMax-M2 into JANGTQ bundles, tensor by tensor."""
