"""The names of Keras' losses, optimizers and metrics, for checks in processes that do not load Keras."""

_LOSSES = """
    BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy
    CategoricalHinge Circle CosineSimilarity Dice Hinge Huber KLDivergence LogCosh
    MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
    SparseCategoricalCrossentropy SquaredHinge Tversky KLD MAE MAPE MSE MSLE bce BCE binary_crossentropy
    binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
    categorical_hinge circle cosine_similarity ctc dice hinge huber
    kl_divergence kld log_cosh mae mape mean_absolute_error mean_absolute_percentage_error mean_squared_error
    mean_squared_logarithmic_error mse msle poisson sparse_categorical_crossentropy squared_hinge tversky
"""

# What the losses take besides labels and outputs, by their names in lower case and without underscores; others take
# nothing.
_LOSS_ARGUMENTS = {
    "binarycrossentropy": "from_logits label_smoothing axis",
    "bce": "from_logits label_smoothing axis",
    "binaryfocalcrossentropy": "apply_class_balancing alpha gamma from_logits label_smoothing axis",
    "categoricalcrossentropy": "from_logits label_smoothing axis",
    "categoricalfocalcrossentropy": "alpha gamma from_logits label_smoothing axis",
    "circle": "gamma margin remove_diagonal",
    "cosinesimilarity": "axis",
    "dice": "axis",
    "huber": "delta",
    "sparsecategoricalcrossentropy": "from_logits ignore_class axis",
    "tversky": "alpha beta axis",
}

# Keras compares these case-insensitively. All of them take the arguments below, too.
_OPTIMIZERS = {
    "adadelta": "rho epsilon",
    "adafactor": "beta_2_decay epsilon_1 epsilon_2 clip_threshold relative_step",
    "adagrad": "initial_accumulator_value epsilon",
    "adam": "beta_1 beta_2 epsilon amsgrad",
    "adamax": "beta_1 beta_2 epsilon",
    "adamw": "beta_1 beta_2 epsilon amsgrad",
    "ftrl": "learning_rate_power initial_accumulator_value l1_regularization_strength l2_regularization_strength "
    "l2_shrinkage_regularization_strength beta",
    "lion": "beta_1 beta_2",
    "muon": "adam_beta_1 adam_beta_2 adam_weight_decay epsilon exclude_layers exclude_embeddings muon_a muon_b muon_c "
    "adam_lr_ratio momentum ns_steps nesterov rms_rate",
    "nadam": "beta_1 beta_2 epsilon",
    "rmsprop": "rho momentum epsilon centered",
    "schedulefreeadamw": "beta_1 beta_2 epsilon warmup_steps",
    "sgd": "momentum nesterov",
}
_OF_ALL_OPTIMIZERS = """
    learning_rate weight_decay clipnorm clipvalue global_clipnorm use_ema ema_momentum ema_overwrite_frequency
    loss_scale_factor gradient_accumulation_steps name
"""

# Those that need no arguments.
_METRICS = """
    AUC BCE BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy CategoricalHinge
    ConcordanceCorrelation CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives Hinge KLDivergence
    LogCoshError MAE MAPE MSE MSLE Mean MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError
    MeanSquaredLogarithmicError PearsonCorrelation Poisson Precision R2Score Recall RootMeanSquaredError
    SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SquaredHinge Sum
    TopKCategoricalAccuracy TrueNegatives TruePositives auc bce binary_accuracy binary_crossentropy binary_io_u
    categorical_accuracy categorical_crossentropy categorical_hinge concordance_correlation cosine_similarity f1_score
    f_beta_score false_negatives false_positives hinge kl_divergence log_cosh_error mae mape mean mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error mse msle pearson_correlation
    poisson precision r2_score recall root_mean_squared_error sparse_categorical_accuracy
    sparse_categorical_crossentropy sparse_top_k_categorical_accuracy squared_hinge sum top_k_categorical_accuracy
    true_negatives true_positives
"""

_METRICS_OF_TWO_CLASSES = """
    AUC BinaryAccuracy BinaryIoU FalseNegatives FalsePositives Precision Recall TrueNegatives TruePositives auc
    binary_accuracy binary_io_u false_negatives false_positives precision recall true_negatives true_positives
"""

_METRICS_OF_ONE_HOT = """
    CategoricalAccuracy CategoricalCrossentropy F1Score FBetaScore TopKCategoricalAccuracy categorical_accuracy
    categorical_crossentropy f1_score f_beta_score top_k_categorical_accuracy
"""

LOSSES = frozenset(_LOSSES.split())
OPTIMIZERS = frozenset(_OPTIMIZERS)
METRICS = frozenset(_METRICS.split())
METRICS_BY_SHAPE = frozenset(["accuracy", "acc"])
"""Those for which the shapes of labels and outputs decide which metric it is, as in `compile`."""
METRICS_OF_TWO_CLASSES = frozenset(_METRICS_OF_TWO_CLASSES.split())
METRICS_OF_ONE_HOT = frozenset(_METRICS_OF_ONE_HOT.split())
"""Those that expect the labels as one-hot vectors."""
OPTIMIZER_ARGUMENTS = frozenset(" ".join([_OF_ALL_OPTIMIZERS, *_OPTIMIZERS.values()]).split())
"""Those that some optimizer takes."""
_OF_ROLES = {"loss": LOSSES, "optimizer": OPTIMIZERS, "eval_metrics_fn": METRICS | METRICS_BY_SHAPE}


def names_for(role: str) -> frozenset[str]:
    """Return Keras' names for a role of the model contract; most roles have none."""
    return _OF_ROLES.get(role, frozenset())


def is_name_for(role: str, name: str) -> bool:
    """Whether Keras has something with that name for the role."""
    return name in names_for(role) or (role == "optimizer" and name.lower() in OPTIMIZERS)


def optimizer_arguments(name: str) -> frozenset[str]:
    """Return the arguments of the optimizer of that name, in any case; without a name, those that any of them takes."""
    if not name:
        return OPTIMIZER_ARGUMENTS
    return frozenset(f"{_OF_ALL_OPTIMIZERS} {_OPTIMIZERS[name.lower()]}".split())


def loss_arguments(name: str) -> frozenset[str]:
    """Return the arguments of the loss of that name; without a name, those that any of them takes."""
    if not name:
        return frozenset(" ".join(_LOSS_ARGUMENTS.values()).split()) | {"reduction"}
    own = frozenset(_LOSS_ARGUMENTS.get(name.lower().replace("_", ""), "").split())
    is_class = name == "CTC" or (name[:1].isupper() and not name.isupper())
    return own | {"reduction"} if is_class else own
