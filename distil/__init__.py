"""How the shipped CNN was made of several: a network that learns to answer as the mean of others does."""
