"""Makes wanted jobs happen: what to start is pure policy, starting is a launcher's, the loop heals."""
