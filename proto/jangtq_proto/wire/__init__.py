"""Calls and answers as bytes: protobuf messages, frames, checks of what arrives."""
