"""Bytes to one worker and back: gRPC, the express transport, experts of this process."""
