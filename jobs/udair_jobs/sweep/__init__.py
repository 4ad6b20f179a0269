"""The sweep job: a search for hyperparameters with Ray Tune."""
