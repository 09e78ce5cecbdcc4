"""Reading, checking and writing JANGTQ directories. Knows no network and computes no expert."""
