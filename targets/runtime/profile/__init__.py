"""Where a run's time goes: by kind of operator, and against the rate of INT8 products on this machine."""
