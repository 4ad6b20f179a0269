"""Published artefacts: base models and candidate adapters."""
