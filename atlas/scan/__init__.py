"""The scan stage: every image through the SAE, and what each feature does on them.

Results must not depend on batches, workers or the order in which parts finish. Change what is
recorded, and the stage's version goes up.
"""
