"""What a maintainer asks for first: the installation, the machine, the folders, and whether a small job works here."""
