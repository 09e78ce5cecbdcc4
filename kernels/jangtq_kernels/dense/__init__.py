"""Products with dense matrices, and attention over a KV cache, on the CPU."""
