"""The control API: says what is wanted, shows what is. Never runs a job, never touches a pixel."""
