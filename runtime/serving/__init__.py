"""A server of predictions, with the interfaces of TensorFlow Serving.

`form` says what a model takes, `jsonforms` and `tensors` turn what clients send into arrays and back, `limits` says how
much they may send, `problems` are what they are told, and `metrics` counts. `model` is one version of a trained model,
`batching` puts its requests together, `finding` looks for new versions, and `versions` swaps them in. `answers` answers
in any protocol; `http` (on `streams`) and `rpc` are the two that there are; `process` runs them. Jobs belong in
`worker` and `master`.
"""
