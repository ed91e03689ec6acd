"""Names that Keras knows losses and optimizers by, for checks in processes that do not load it."""

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

# Keras compares these without regard to case.
_OPTIMIZERS = "adadelta adafactor adagrad adam adamax adamw ftrl lion muon nadam rmsprop schedulefreeadamw sgd"

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
OPTIMIZER_ARGUMENTS = frozenset(_OPTIMIZER_ARGUMENTS.split())
