"""The snippets of ElasticDL's model building guide, as they stand there, are models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, ModelDefinition, load

IMPORTS = """
import numpy as np
import PIL.Image
import tensorflow as tf
from elasticdl.python.common.constants import Mode
"""

FUNCTIONAL = """
inputs = tf.keras.Input(shape=(28, 28), name='image')
x = tf.keras.layers.Reshape((28, 28, 1))(inputs)
x = tf.keras.layers.Conv2D(32, kernel_size=(3, 3), activation='relu')(x)
x = tf.keras.layers.Conv2D(64, kernel_size=(3, 3), activation='relu')(x)
x = tf.keras.layers.BatchNormalization()(x)
x = tf.keras.layers.MaxPooling2D(pool_size=(2, 2))(x)
x = tf.keras.layers.Dropout(0.25)(x)
x = tf.keras.layers.Flatten()(x)
outputs = tf.keras.layers.Dense(10)(x)

model = tf.keras.Model(inputs=inputs, outputs=outputs, name='mnist_model')
"""

SUBCLASS = """
class MnistModel(tf.keras.Model):
    def __init__(self):
        super(MnistModel, self).__init__(name='mnist_model')
        self._reshape = tf.keras.layers.Reshape((28, 28, 1))
        self._conv1 = tf.keras.layers.Conv2D(
            32, kernel_size=(3, 3), activation='relu')
        self._conv2 = tf.keras.layers.Conv2D(
            64, kernel_size=(3, 3), activation='relu')
        self._batch_norm = tf.keras.layers.BatchNormalization()
        self._maxpooling = tf.keras.layers.MaxPooling2D(
            pool_size=(2, 2))
        self._dropout = tf.keras.layers.Dropout(0.25)
        self._flatten = tf.keras.layers.Flatten()
        self._dense = tf.keras.layers.Dense(10)

    def call(self, inputs, training=False):
        x = self._reshape(inputs)
        x = self._conv1(x)
        x = self._conv2(x)
        x = self._batch_norm(x, training=training)
        x = self._maxpooling(x)
        if training:
            x = self._dropout(x, training=training)
        x = self._flatten(x)
        x = self._dense(x)
        return x

model = MnistModel()
"""

FUNCTIONS = """
def dataset_fn(dataset, mode):
    def _parse_data(record):
        if mode == Mode.PREDICTION:
            feature_description = {
                "image": tf.io.FixedLenFeature([28, 28], tf.float32)
            }
        else:
            feature_description = {
                "image": tf.io.FixedLenFeature([28, 28], tf.float32),
                "label": tf.io.FixedLenFeature([1], tf.int64),
            }
        r = tf.io.parse_single_example(record, feature_description)
        features = {
            "image": tf.math.divide(tf.cast(r["image"], tf.float32), 255.0)
        }
        if mode == Mode.PREDICTION:
            return features
        else:
            return features, tf.cast(r["label"], tf.int32)

    dataset = dataset.map(_parse_data)

    if mode != Mode.PREDICTION:
        dataset = dataset.shuffle(buffer_size=1024)
    return dataset

def loss(labels, output):
    return tf.reduce_mean(
        input_tensor=tf.nn.sparse_softmax_cross_entropy_with_logits(
            logits=output, labels=labels.flatten()
        )
    )

def optimizer(lr=0.1):
    return tf.optimizers.SGD(lr)

def eval_metrics_fn(predictions, labels):
    return {
        "accuracy": tf.reduce_mean(
            input_tensor=tf.cast(
                tf.equal(
                    tf.argmax(input=predictions, axis=1), labels.flatten()
                ),
                tf.float32,
            )
        )
    }
"""

PREPARE = """
def prepare_data_for_a_single_file(filename):
    '''
    An image classification dataset that images belonging to the same category located in the same directory.
    '''
    label = int(filename.split('/')[-2])
    image = PIL.Image.open(filename)
    numpy_image = np.array(image)
    example_dict = {
        "image": tf.train.Feature(
            float_list=tf.train.FloatList(value=numpy_image.flatten())
        ),
        "label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[label])
        ),
    }
    example = tf.train.Example(
        features=tf.train.Features(feature=example_dict)
    )
    return example.SerializeToString()
"""


def records(count: int, labelled: bool = True) -> list[bytes]:
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        feature = {"image": tf.train.Feature(float_list=tf.train.FloatList(value=random.random(784) * 255))}
        if labelled:
            feature["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 10]))
        made.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return made


def chunks_of(values: list[bytes], size: int = 7) -> tf.data.Dataset:
    def chunks() -> Any:
        for start in range(0, len(values), size):
            yield np.array(values[start : start + size], dtype=object)

    return tf.data.Dataset.from_generator(chunks, output_signature=tf.TensorSpec([None], tf.string))


def batches(loaded: LoadedModel, mode: Mode, values: list[bytes]) -> tf.data.Dataset:
    return loaded.batches(
        chunks_of(values), mode, None, form="bytes", batch_size=8, shuffle_seed=1, task_records=len(values)
    )


@pytest.fixture(params=[FUNCTIONAL, SUBCLASS], ids=["functional", "subclass"])
def loaded(request: pytest.FixtureRequest, write: Any, tmp_path: Path) -> LoadedModel:
    write("guide/mnist.py", IMPORTS + request.param + FUNCTIONS + PREPARE)
    keras.utils.set_random_seed(0)
    return load(ModelDefinition(str(tmp_path), "guide.mnist", {"lr": 0.01}))


def test_the_guide_s_model_trains_evaluates_and_predicts(loaded: LoadedModel) -> None:
    optimizer = loaded.make_optimizer()
    assert float(optimizer.learning_rate) == pytest.approx(0.01)

    @tf.function(reduce_retracing=True)
    def step(features: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loaded.compute_loss(labels, loaded.call_model(features, training=True))
        variables = loaded.model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    data = batches(loaded, Mode.TRAINING, records(40))
    loaded.build(data.element_spec[0])
    optimizer.build(loaded.model.trainable_variables)
    losses = [float(step(*batch)) for _ in range(4) for batch in data]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])

    metrics = loaded.metrics()
    for features, labels in batches(loaded, Mode.EVALUATION, records(20)):
        outputs = loaded.call_model(features, training=False)
        metrics.update(labels, outputs, loaded.compute_loss(labels, outputs), len(labels))
    results = metrics.results()
    assert set(results) == {"loss", "accuracy"}
    assert 0 <= results["accuracy"] <= 1

    predicting = list(batches(loaded, Mode.PREDICTION, records(20, labelled=False)))
    assert [loaded.call_model(features, training=False).shape for features in predicting] == [(8, 10), (8, 10), (4, 10)]


def test_flatten_does_not_leak(loaded: LoadedModel) -> None:
    loaded.compute_loss(tf.constant([[1], [2]]), tf.zeros([2, 10]))
    assert not hasattr(tf.constant([1]), "flatten")
