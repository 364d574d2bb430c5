"""One network made of several: it learns to answer as they do on average."""
