"""elasticdl_nb: elastic distributed deep learning with Keras, driven from a notebook."""
