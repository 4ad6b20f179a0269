"""A whole platform on one machine: Ray, API, scheduler and serving as child processes."""
