"""What digitnet withstands on this machine, tried out: ``scripts/torture``. Not part of the package."""
