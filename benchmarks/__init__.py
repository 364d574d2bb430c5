"""What digitnet costs on this machine, measured: ``scripts/benchmark``. Not part of the package."""
