"""Images in, and what damages them."""
