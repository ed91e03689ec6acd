"""Columns of tables in workers: code that loads TensorFlow, imported by the modules that model zoos get.

`columnvalues` computes features. No other folder is imported from here but `tables` itself and the runtime.
"""
