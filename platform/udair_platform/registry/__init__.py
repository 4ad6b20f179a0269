"""What the platform knows and decides: domains, jobs wanted, versions, the gate, aliases, routes."""
