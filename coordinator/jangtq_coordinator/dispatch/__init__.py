"""One layer's expert call: route, encode, send, receive, add, retry."""
