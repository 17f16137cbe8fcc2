"""Fast ways to the logits and the loss that `transformer.py` defines."""
