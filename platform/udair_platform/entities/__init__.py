"""The nouns of the platform and how each may change: values and tables, no input or output."""
