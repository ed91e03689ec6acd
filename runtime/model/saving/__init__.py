"""Trained models and weights on disk.

`trained` writes and reads the directory of a trained model, `weights` its parameters file, `zoofiles` the copy of the
zoo, `state` what optimizers and layers hold besides weights. How a directory appears all at once belongs in
`runtime.storage.publish`.
"""
