"""What a Keras model shows of itself before it is called: its inputs, and the end that its outputs come from."""

import inspect
import types

import keras

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.tables.labelform import Head
from elasticdl_nb.tables.matching import ModelInput

layers = keras.layers
_NUMBERS = (
    layers.Normalization,
    layers.Discretization,
    layers.IntegerLookup,
    layers.Rescaling,
    layers.CategoryEncoding,
)
_TEXTS = (layers.StringLookup, layers.Hashing, layers.TextVectorization)
_PREPROCESSING = (*_NUMBERS, *_TEXTS, layers.HashedCrossing)
# Layers that hand on the same numbers in another form.
_SAME = (
    layers.Reshape, layers.Flatten, layers.Concatenate, layers.Identity, layers.RepeatVector, layers.Dropout,
    layers.ActivityRegularization,
)  # fmt: skip
_SAME_OPERATIONS = ("Cast", "Reshape", "Squeeze", "ExpandDims", "Concatenate", "Identity", "GetItem")


# ------------------------------------------------------------------ inputs


def inputs_of(model, record):
    """Return the model's inputs, and the structure in which it takes them: nested names, or one name.

    Raises ModelError for an input that is not a value or a vector for each row.
    """
    tensors = getattr(model, "inputs", None)
    if tensors:
        found = [_declared(model, tensor) for tensor in tensors]
        graph = getattr(model, "_functional", None) or model
        structure = graph._inputs_struct
        names = {id(tensor): item.name for tensor, item in zip(tensors, found, strict=True)}
        return found, keras.tree.map_structure(lambda tensor: names[id(tensor)], structure)
    named = [] if isinstance(model, keras.Sequential) else _picked(model, record.names)
    if not named:
        return [ModelInput("", width=None, raw=_begins_with(model, _PREPROCESSING))], ""
    found = [_undeclared(model, column) for column in record.columns if column.name in named]
    return found, {item.name: item.name for item in found}


def _declared(model, tensor):
    shape = tensor.shape
    if len(shape) > 2:
        raise ModelError(
            f"the model's input {tensor.name!r} takes {tuple(shape)}, but a column is a value for each row"
        )
    consumers = _consumers(model, tensor)
    most = min((layer.input_dim for layer in consumers if isinstance(layer, layers.Embedding)), default=None)
    return ModelInput(
        tensor.name, keras.backend.standardize_dtype(tensor.dtype), shape[1] if len(shape) == 2 else 1,
        any(isinstance(layer, _PREPROCESSING) for layer in consumers), most,
    )  # fmt: skip


def _consumers(model, tensor):
    """Return the operations that take this tensor, or another form of it."""
    graph = getattr(model, "_functional", None) or model
    found, waiting, seen = [], [tensor], set()
    while waiting:
        current = waiting.pop()
        for operation in graph.operations:
            for node in operation._inbound_nodes:
                if id(node) in seen or not any(one is current for one in node.input_tensors):
                    continue
                seen.add(id(node))
                found.append(operation)
                if isinstance(operation, _SAME) or type(operation).__name__ in _SAME_OPERATIONS:
                    waiting += node.output_tensors
                elif isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
                    place = next(n for n, one in enumerate(node.input_tensors) if one is current)
                    found += _consumers(operation, operation.inputs[place])
    return found


def _undeclared(model, column):
    """The input that a model without declared ones takes as a column's value."""
    if column.category is None:
        return ModelInput(column.name, raw=_has(model, _NUMBERS))
    return ModelInput(column.name, "string" if _has(model, _TEXTS) else "int32")


def _has(model, kinds):
    return any(isinstance(layer, kinds) for layer in model._flatten_layers())


def _begins_with(model, kinds):
    if isinstance(model, keras.Sequential):
        return bool(model.layers) and isinstance(model.layers[0], kinds)
    return _has(model, kinds)


def _picked(model, names):
    """Return those of these names that the model's `call` picks: texts in its code."""
    code = getattr(inspect.unwrap(type(model).call), "__code__", None)
    return [] if code is None else sorted(_texts(code) & {*names})


def _texts(code):
    """The texts in a function's code."""
    found = {constant for constant in code.co_consts if isinstance(constant, str)}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found |= _texts(inner)
        elif isinstance(inner, tuple):
            found |= {item for item in inner if isinstance(item, str)}
    return found


# ------------------------------------------------------------------ the end


def head_of(model):
    """Return the end of a model; raises ModelError for a model with several outputs."""
    tensors = getattr(model, "outputs", None)
    if tensors:
        if len(tensors) > 1:
            raise ModelError(f"label is for models with one output, but this one has {len(tensors)}: use an input_fn")
        shape = tensors[0].shape
        if len(shape) > 2:
            raise ModelError(f"the model gives {tuple(shape)} for each batch, but a label is one value for each row")
        return Head(shape[1] if len(shape) == 2 else 1, _activation(*_source(tensors[0])))
    last = next((layer for layer in reversed(model.layers) if not isinstance(layer, _SAME)), None)
    if last is None:
        return Head()
    return Head(getattr(last, "units", None), _of_layer(last) if hasattr(last, "units") else "")


def _source(tensor):
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]


def _activation(operation, node):
    if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        return _activation(*_source(operation.outputs[0]))
    if isinstance(operation, _SAME) or type(operation).__name__ in _SAME_OPERATIONS:
        return _activation(*_source(node.input_tensors[0]))
    return _of_layer(operation)


def _of_layer(layer):
    if isinstance(layer, layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", "") if activation is not None else type(layer).__name__
    return name.lower()
