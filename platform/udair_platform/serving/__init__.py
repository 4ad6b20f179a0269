"""The data plane: answers with pixels. The only part of the platform that loads torch."""
