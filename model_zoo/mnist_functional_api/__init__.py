"""MNIST, with the functional API."""
