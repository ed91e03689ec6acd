"""CIFAR-10, as a subclass of keras.Model."""
