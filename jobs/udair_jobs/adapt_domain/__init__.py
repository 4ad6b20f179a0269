"""The adaptation job: a prefix of unlabelled images in, a candidate adapter with its evidence out."""
