"""From logits to a token: sampling parameters, penalties and grammar masks."""
