"""What can be read off a checkpoint: answers to the task, hidden states, linear probes."""
