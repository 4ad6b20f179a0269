"""The base model: degradation encoder, codebook and restorer."""
