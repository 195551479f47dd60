"""How a stage is run: when it is current, how its parts are made and resumed, by which processes.

No stage is named here. Whatever changes what a part's key covers changes what a build can reuse,
so the tests of killed and extended builds come first.
"""
