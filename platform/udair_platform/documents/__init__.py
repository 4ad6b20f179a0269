"""Documents that the planes exchange through the store."""
