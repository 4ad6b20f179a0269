"""The evaluation job: labelled sets in, scores out."""
