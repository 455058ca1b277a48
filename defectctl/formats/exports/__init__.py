"""A prepared dataset written as other tools read it, one file a form."""
