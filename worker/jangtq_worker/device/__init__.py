"""The order of calls on the device: queue, batches, chunks, and the shard that computes them."""
