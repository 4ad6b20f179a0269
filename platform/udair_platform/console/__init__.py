"""The console: the platform as web pages, rendered by the server, with nothing loaded from elsewhere."""
