"""Judging networks: predictions kept apart from what is said of them."""
