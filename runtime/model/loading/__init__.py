"""From a definition to a live model in a worker: this loads TensorFlow and runs the user's code.

`modules` imports the zoo, whose modules `finding` finds, and `loader` finds the parts and makes a `LoadedModel`, which
`compiling` compiles as for `fit`. `calls`, `losses` and `functionloss` call them the way they expect, `inputs`,
`dictfeatures` and `unlabelled` feed them, `essence` reads their errors, `weights` weighs their records, `assigning`
knows which weights they assign, and `teststep`, `metricstates`, `binarymetrics` and `customreader` adapt metrics and
readers. Whatever can be known without running user code belongs in `model.reading`.
"""
