"""What ``train``, ``explain learning-rate`` and ``explain training`` draw: how training goes; what is learnt when."""
