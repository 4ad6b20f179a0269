"""The routes, noun by noun: read the request, ask the registry, show the answer."""
