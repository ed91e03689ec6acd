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

# Keras compares these case-insensitively.
_OPTIMIZERS = "adadelta adafactor adagrad adam adamax adamw ftrl lion muon nadam rmsprop schedulefreeadamw sgd"

# Those that need no arguments; without "accuracy", whose meaning depends on the loss.
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

_OPTIMIZER_ARGUMENTS = """
    learning_rate weight_decay clipnorm clipvalue global_clipnorm use_ema ema_momentum ema_overwrite_frequency
    loss_scale_factor gradient_accumulation_steps name momentum nesterov rho epsilon centered beta beta_1 beta_2
    amsgrad initial_accumulator_value l1_regularization_strength l2_regularization_strength
    l2_shrinkage_regularization_strength learning_rate_power beta_2_decay epsilon_1 epsilon_2 clip_threshold
    relative_step adam_beta_1 adam_beta_2 adam_weight_decay adam_lr_ratio ns_steps exclude_layers exclude_embeddings
    warmup_steps rms_rate
"""

LOSSES = frozenset(_LOSSES.split())
OPTIMIZERS = frozenset(_OPTIMIZERS.split())
METRICS = frozenset(_METRICS.split())
METRICS_OF_TWO_CLASSES = frozenset(_METRICS_OF_TWO_CLASSES.split())
METRICS_OF_ONE_HOT = frozenset(_METRICS_OF_ONE_HOT.split())
"""Those that expect the labels as one-hot vectors."""
OPTIMIZER_ARGUMENTS = frozenset(_OPTIMIZER_ARGUMENTS.split())
_OF_ROLES = {"loss": LOSSES, "optimizer": OPTIMIZERS, "eval_metrics_fn": METRICS}


def names_for(role: str) -> frozenset[str]:
    """Return Keras' names for a role of the model contract; most roles have none."""
    return _OF_ROLES.get(role, frozenset())


def is_name_for(role: str, name: str) -> bool:
    """Whether Keras has something with that name for the role."""
    return name in names_for(role) or (role == "optimizer" and name.lower() in OPTIMIZERS)
