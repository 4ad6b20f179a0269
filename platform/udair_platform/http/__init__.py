"""What both HTTP services share: the edge of every request, and refusals as problem+json."""
