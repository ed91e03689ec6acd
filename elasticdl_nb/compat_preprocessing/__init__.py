"""The import name `elasticdl_preprocessing`: layers that prepare features, as ElasticDL's users know them.

Modules load TensorFlow when they are imported. New models do better with Keras' own preprocessing layers.
"""
