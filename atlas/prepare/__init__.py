"""Before a build: what it will take, whether machine and inputs are fit, which settings to choose.

Nothing here changes an atlas. Times in `plan.py` come from measured rates, with the measurement
named beside each.
"""
