"""Running a stage: whether it is current, how its parts are made and resumed, by which processes.

No stage is named here. A change to the key of parts or to the plan changes what an existing build
can reuse: write the tests of killed and extended builds first.
"""
