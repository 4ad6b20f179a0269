"""The model behind the endpoint: engine, adapters, replica."""
