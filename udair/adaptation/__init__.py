"""From unlabelled images of one domain to a small adapter, with evidence that it does no harm."""
