"""Sockets that carry frames, plain or inside TLS."""
