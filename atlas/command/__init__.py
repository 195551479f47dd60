"""The `atlas` command: parse, call, print, exit; a module for each group of commands.

Only this room prints and chooses exit codes. Heavy modules are imported by the command that needs them.
"""
