"""The command line: one file a command, which reads arguments, calls one function and prints."""
