"""Names of the environment variables that hold statistics of a column; see `utils.analyzer_utils`."""

__all__ = ["AnalysisEnvTemplate"]


class AnalysisEnvTemplate:
    """Each is a name with {} for the column."""

    MIN_ENV = "_{}_min"
    MAX_ENV = "_{}_max"
    AVG_ENV = "_{}_avg"
    STDDEV_ENV = "_{}_stddev"
    BUCKET_BOUNDARIES_ENV = "_{}_boundaries"
    DISTINCT_COUNT_ENV = "_{}_distinct_count"
    VOCABULARY_ENV = "_{}_vocab"
