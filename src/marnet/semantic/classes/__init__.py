"""Classes that a trained run takes in without training."""
