"""Bytes to one worker and back: gRPC, the express lane, experts of this process."""
