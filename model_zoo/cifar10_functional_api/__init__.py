"""CIFAR-10, by the functional API."""
