"""CIFAR-10, with the functional API."""
