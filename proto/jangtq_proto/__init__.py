"""What coordinator and worker agree on: messages, vocabulary and errors."""

import os

# gRPC reads this when first imported. Without its event engine the waiting thread reads the socket itself,
# which halves a round trip: benchmarks/dispatch.py shows it.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
