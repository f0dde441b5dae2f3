"""Training as the file declares it: update rules, the loop, checkpoints, history."""
