"""The model contract: finding, checking and loading a user's model and everything that belongs to it."""
