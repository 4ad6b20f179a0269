"""The training job: photographs in, a base model out, on Ray Train."""
