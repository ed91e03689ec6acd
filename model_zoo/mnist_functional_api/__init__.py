"""MNIST, by the functional API."""
