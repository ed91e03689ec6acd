"""Trained models and weights on disk.

`trained` writes and reads the directory of a trained model, `weights` its parameters file, and `zoofiles` the copy of
the zoo; `state` turns everything that training changes into bytes; `tablefiles` is about rows that stay out of the
model, in files. How a directory appears all at once belongs in `runtime.storage.publish`.
"""
