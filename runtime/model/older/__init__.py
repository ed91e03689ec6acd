"""What models written for Keras 2 use and Keras 3 dropped, put back in processes that load model zoos.

`installing` installs all of it at once, into the modules of TensorFlow and Keras; nothing else here changes them.
`operations` makes TensorFlow's functions work on the inputs of a functional model, `densefeatures` is the layer for
`tf.feature_column`, `arguments` accepts arguments that Keras 3 refuses, and `oldmodules` leads
`tensorflow.python.keras` to Keras 3. Clients never import this room. ElasticDL's own names are in `compat`.
"""
