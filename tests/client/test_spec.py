from __future__ import annotations

import ast
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import KINDS, JobSpec, Option, find_option, options
from elasticdl_nb.runtime.spec.literals import format_arguments, parse_arguments, parse_value
from elasticdl_nb.runtime.spec.together import need_of

# The option strings of ElasticDL's own documents.
PARAMS = "hidden_units=[10, 100, 20, 5], learning_rate=0.01"
READER = "columns=['sepal.length', 'sepal.width', 'petal.length', 'petal.width', 'variety']; sep=','"


def train(**given: object) -> JobSpec:
    return JobSpec.create("train", **{"model_def": "m", "data": "x", **given})


def test_the_first_generation_of_option_names():
    spec = JobSpec.create(
        "train",
        model_zoo="https://github.com/sql-machine-learning/models",
        model_class="fintech.MyKerasModel",
        input_fn="fintech.image_label_input",
        params=PARAMS,
        data="/filestore/yiwang/imagenet/train/*.recordio",
        output="/filestore/yiwang/mykerasmodelparams",
    )
    assert spec.model_def == "fintech.MyKerasModel"
    assert spec.params == {"hidden_units": [10, 100, 20, 5], "learning_rate": 0.01}
    assert spec.data == ("/filestore/yiwang/imagenet/train/*.recordio",)


def test_the_second_generation_of_option_names():
    spec = JobSpec.create(
        "train",
        model_def="odps_iris_dnn_model.odps_iris_dnn_model.custom_model",
        training_data="iris.csv",
        validation_data="iris.csv",
        data_reader_params=READER,
        num_epochs="2",
        minibatch_size="64",
        num_minibatches_per_task="20",
        distribution_strategy="Local",
        job_name="test-odps-iris",
        evaluation_steps="20",
        num_workers="2",
        checkpoint_steps="10",
        output="iris_dnn_model",
    )
    assert spec.data_reader_params["sep"] == ","
    assert spec.data_reader_params["columns"][-1] == "variety"
    assert (spec.data, spec.validation_data) == (("iris.csv",), ("iris.csv",))
    assert (spec.num_epochs, spec.minibatch_size, spec.num_minibatches_per_task) == (2, 64, 20)


def test_prediction_as_documented():
    spec = JobSpec.create("predict", data="gs://b/t/*.recordio", trained_model="gs://b/m", output="gs://b/out/")
    assert (spec.trained_model, spec.output) == ("gs://b/m", "gs://b/out/")


def test_environment_variables_in_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert train(model_zoo="$HOME/work").model_zoo == "/home/someone/work"
    assert train(model_zoo="~/work").model_zoo == "/home/someone/work"


def test_data_may_be_several_paths_in_every_spelling(tmp_path):
    assert train(data="a.csv,b.csv").data == ("a.csv", "b.csv")
    assert train(data="['a.csv', 'b.csv']").data == ("a.csv", "b.csv")
    assert train(data=["a,b.csv", tmp_path]).data == ("a,b.csv", str(tmp_path))
    (tmp_path / "a,b.csv").touch()
    assert train(data=f"{tmp_path}/a,b.csv").data == (f"{tmp_path}/a,b.csv",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_df": "m"}, "model_df: not an option of train. Did you mean 'model_def'?"),
        ({"trained_model": "m"}, "trained_model: not an option of train, only of evaluate and predict"),
        ({"model": "n"}, "model: given together with model_def"),
        ({"model_def": ""}, r"model_def: required \(also called model\)"),
        ({"data": ()}, "data: required"),
        ({"num_epochs": 0}, "num_epochs: 0 is not valid: expected a whole number of at least 1"),
        ({"num_epochs": "many"}, "num_epochs: 'many' is not valid"),
        ({"num_epochs": 1.5}, "num_epochs: 1.5 is not valid"),
        ({"minibatch_size": True}, "minibatch_size: True is not valid"),
        ({"params": "hidden_units"}, "params: 'hidden_units' is not valid: expected arguments of the form"),
        ({"params": "a=open('x')"}, "params: .* the value of a is not a Python literal"),
        ({"params": {"a": object()}}, "params: .* is not valid"),
        ({"params": "a=1, a=2"}, "params: .*a is given twice"),
        ({"distribution_strategy": "Locl"}, "distribution_strategy: .*Did you mean 'Local'?"),
        ({"overwrite": "perhaps"}, "overwrite: 'perhaps' is not valid: expected true or false"),
        ({"envs": "A"}, "envs: 'A' is not valid: expected NAME=VALUE"),
        ({"job_name": "a/b"}, "job_name: 'a/b' is not valid"),
        ({"job_name": "-"}, "job_name: '-' is not valid"),
        ({"input_fn": "f", "dataset_fn": "g"}, "input_fn: given together with dataset_fn"),
        *[
            (
                {"follow": True, option: value},
                f"{option}: given together with follow: a training that follows its data {why}",
            )
            for option, value, why in (
                ("num_epochs", 2, "uses every record once, as there are no epochs"),
                ("max_step", 5, "ends when it is stopped"),
                ("shuffle", True, "uses records in the order in which they come"),
                ("custom_data_reader", "r", "looks for files"),
                ("callbacks", "c", "has no epochs, between which callbacks are called"),
                ("distribution_strategy", "AllreduceStrategy", "trains with Local or ParameterServerStrategy"),
            )
        ],
    ],
)
def test_mistakes_are_told_by_the_option(options, message):
    with pytest.raises(OptionError, match=message):
        train(**options)


WITHOUT_EFFECT = {
    "use_async": False, "grads_to_wait": 2, "sync_version_tolerance": 1, "get_model_steps": 2,
    "lr_staleness_modulation": True, "num_ps": 2, "min_workers": 2, "fixed_global_batch": True,
    "compression": "float16", "overwrite": True, "job_directory": "/d", "volume": "claim_name=c,mount_path=/d",
    "image_pull_policy": "Never", "validation_split": 0.5,
    "embedding_options": "a: ttl=5", "jit_compile": "true", "checkpoint_deltas": 5, "checkpoint_delta_mb": 5,
    "prequential": True, "prequential_window": 5, "alarm": "auc<0.7",
    "restart_policy": "Never", "node_selector": "a=b", "tolerations": "a", "image_pull_secrets": "a",
    "publish_every": "60s", "keep_published": 5,
}  # fmt: skip


def value_for(option: Option) -> object:
    given = WITHOUT_EFFECT.get(option.name)
    return given if given is not None else "cpu=2" if "resource" in option.name else "some"


def test_every_option_that_needs_another_is_refused_without_it():
    tried = [option for option in options("train") if need_of(option)]
    assert {option.group for option in tried} >= {"Parameter servers", "All-reduce", "Kubernetes", "Image"}
    not_with_a_ring = ("embedding_options", "jit_compile", "checkpoint_deltas", "checkpoint_delta_mb", "prequential")
    for option in tried:
        with pytest.raises(OptionError, match=rf"^{option.name}: has an effect only with "):
            strategy = "AllreduceStrategy" if option.name in not_with_a_ring else "Local"
            train(distribution_strategy=strategy, **{option.name: value_for(option)})


def test_a_trained_model_to_begin_with_has_a_name_of_its_own():
    assert train(trained_model_for_init="m").checkpoint_dir_for_init == "m"
    with pytest.raises(OptionError, match="given together with trained_model_for_init, which is the same option"):
        train(trained_model_for_init="m", checkpoint_dir_for_init="n")


def test_defaults_that_change_nothing_are_no_mistake():
    for option in options("train"):
        if need_of(option) and option.default not in ("", (), {}):
            assert train(distribution_strategy="Local", **{option.name: option.default}).trains_alone


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        ({}, "Local"),
        ({"num_workers": 2}, "ParameterServerStrategy"),
        ({"num_ps": 1}, "ParameterServerStrategy"),
        ({"use_async": False, "grads_to_wait": 2}, "ParameterServerStrategy"),
        ({"use_async": True}, "Local"),
        ({"min_workers": 2, "num_workers": 2}, "AllreduceStrategy"),
        ({"compression": "float16"}, "AllreduceStrategy"),
        ({"num_workers": 2, "distribution_strategy": "Local"}, "Local"),
    ],
)
def test_the_strategy_is_the_one_that_the_options_ask_for(given, strategy):
    assert train(**given).distribution_strategy == strategy


def test_options_of_two_strategies_ask_for_none():
    with pytest.raises(OptionError, match=r"num_ps: applies only with .*, but compression only with"):
        train(num_ps=2, compression="float16")


def test_a_choice_that_excludes_an_option_of_the_same_strategy():
    with pytest.raises(OptionError, match=r"grads_to_wait: has an effect only .*use_async=false"):
        train(grads_to_wait=2)
    with pytest.raises(OptionError, match=r"get_model_steps: has an effect only .*use_async=true"):
        train(use_async=False, get_model_steps=2)
    with pytest.raises(OptionError, match="output_format: has an effect only if output is a directory"):
        JobSpec.create("predict", trained_model="m", data="d", output="p.csv", output_format="recordio")
    with pytest.raises(OptionError, match="overwrite: has an effect only with output"):
        train(overwrite=True)


def test_what_existing_commands_combine_is_noted():
    assert train(distribution_strategy="Local", num_workers=2).notes() == [
        "num_workers=2 has no effect with distribution_strategy=Local, which trains in one worker"
    ]
    assert train(evaluation_steps=2).notes() == ["evaluation_steps has no effect without validation_data"]
    assert train(num_workers=2, evaluation_steps=2, validation_data="v").notes() == []


def test_all_mistakes_are_told_together():
    with pytest.raises(OptionError) as told:
        train(model_df="x", num_epochs=0, minibatch_size="many")
    assert [line.partition(":")[0] for line in str(told.value).splitlines()] == [
        "model_df", "num_epochs", "minibatch_size",
    ]  # fmt: skip


def test_a_prediction_on_a_cluster_needs_a_place_or_a_processor():
    given = {"data": "x", "trained_model": "m"}
    assert JobSpec.create("predict", **given).output == "", "it is in the job's folder"
    with pytest.raises(OptionError, match="output: required"):
        JobSpec.create("predict", platform="kubernetes", **given)
    JobSpec.create("predict", platform="kubernetes", prediction_outputs_processor="P", **given)


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_has_a_help_and_is_found_by_all_its_names(kind):
    for option in options(kind):
        assert option.help.endswith((".", ")", "?"))
        for name in option.names(kind):
            assert find_option(kind, name).name == option.name


def test_none_and_empty_text_mean_not_given():
    assert train(params=None, num_epochs="", loss=" ") == train()


ARGUMENTS = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: _is_name(name)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


def _is_name(text: str) -> bool:
    try:
        return isinstance(ast.parse(text, mode="eval").body, ast.Name)
    except SyntaxError:
        return False


@given(ARGUMENTS)
def test_arguments_survive_being_written_and_read(arguments):
    assert parse_arguments(format_arguments(arguments)) == arguments
    assert parse_arguments(format_arguments(arguments).replace("\n", " ") + ";") == arguments


@given(ARGUMENTS, st.integers(1, 10**9), st.text(max_size=5))
def test_a_job_survives_its_file(params, number, name):
    spec = train(params=params, num_epochs=number, envs={"A": name}, data=["a", "b"], overwrite="yes", output="o")
    assert JobSpec.from_json(spec.to_json()) == spec


@given(st.text(max_size=30))
def test_no_text_makes_the_parsers_fail_otherwise_than_by_a_value_error(text):
    for parse in (parse_value, parse_arguments):
        with contextlib.suppress(ValueError):
            parse(text)
