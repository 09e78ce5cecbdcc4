"""Certificates and the credentials made of them."""
