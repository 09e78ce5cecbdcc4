"""Calls and answers as bytes: frames, messages, and checks of what arrives."""
