"""What coordinator and worker agree on: messages, vocabulary and errors."""

import os

# gRPC reads this when first imported. Without its event engine the waiting thread reads the socket itself,
# which halves a round trip: benchmarks/dispatch.py shows it.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
# Read then, too. A cipher suite that no certificate can use leaves nothing of TLS 1.2; TLS 1.3 ignores it.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-PSK-AES256-CBC-SHA"
# Read then, too. What matters of its log reaches users in our own errors.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Read then, too. gRPC's own resolver knows no names of Bonjour, such as mac-b.local; the system's does.
os.environ.setdefault("GRPC_DNS_RESOLVER", "native")
