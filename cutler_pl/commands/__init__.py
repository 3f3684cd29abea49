"""The edge of the program: the only modules that see a Hydra config. Each pipeline turns one into objects and runs."""
