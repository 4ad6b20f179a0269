"""Services: the platform's operations on its nouns, each in one transaction."""
