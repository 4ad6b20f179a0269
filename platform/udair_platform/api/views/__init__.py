"""What replies look like, noun by noun."""
