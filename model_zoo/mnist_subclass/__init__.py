"""MNIST, as a subclass of keras.Model."""
