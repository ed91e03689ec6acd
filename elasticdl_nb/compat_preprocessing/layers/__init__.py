"""Layers that prepare features. All take dense, ragged and sparse tensors; `base` has what they share."""

from .concatenate_with_offset import ConcatenateWithOffset
from .discretization import Discretization
from .hashing import Hashing
from .index_lookup import IndexLookup
from .log_round import LogRound
from .normalizer import Normalizer
from .round_identity import RoundIdentity
from .sparse_embedding import SparseEmbedding
from .to_number import ToNumber
from .to_ragged import ToRagged
from .to_sparse import ToSparse

__all__ = [
    "ConcatenateWithOffset",
    "Discretization",
    "Hashing",
    "IndexLookup",
    "LogRound",
    "Normalizer",
    "RoundIdentity",
    "SparseEmbedding",
    "ToNumber",
    "ToRagged",
    "ToSparse",
]
