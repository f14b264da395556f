"""Is this data good enough, row by row? What no look at a few rows tells, measured before compute is spent on it.

``prepare`` finds what stops a run, in every run. The checks in here take longer: they compare every row with every
other, hear every recording, look at every picture, and ask a head that learned from the other rows.
"""
