"""Columns of tables in workers: code that loads TensorFlow, imported by the modules that model zoos get.

`columnvalues` computes features, for SQL too. `tablefunction` is the input function of a job with a label: `kerasshape`
says what a model takes and gives, `inputvalues` computes that, `fitting` has what fits a label, and `rowmodel` is a
trained model that takes rows. No other folder is imported from here but `tables` itself and the runtime.
"""
