"""Asking the processor for rows before a loop gets to them.

The rows of a batch are spread over memory. A loop that asks for each of them only when its turn has come waits for
memory most of the time: asking sixteen rows earlier makes Adam on such rows three to four times as fast. It changes no
result.
"""

from __future__ import annotations

from typing import Any, cast

from elasticdl_nb.runtime.compiled import ENABLED, compiled

AHEAD = 16
_LINE = 64
"""Bytes that memory gives at a time."""


def _do_nothing(array: Any, row: Any, offset: Any) -> None:
    """Without numba, loops are NumPy's."""


_touch: Any = _do_nothing
"""Asks for the memory at a row of an array, so many bytes on; the row must be one of the array's."""

if ENABLED:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    def _prefetching(typing: Any, array: Any, row: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind, llvm = signature.args[0], cast(Any, cgutils)
            value = context.make_array(kind)(context, builder, arguments[0])
            stride = llvm.unpack_tuple(builder, value.strides, kind.ndim)[0]
            pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            form = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
            prefetch = llvm.get_or_insert_function(builder.module, form, "llvm.prefetch.p0i8")
            place = builder.add(builder.mul(arguments[1], stride), arguments[2])
            where = builder.gep(builder.bitcast(value.data, pointer), [place])
            builder.call(prefetch, [where, number(0), number(3), number(1)])  # data, to read, and to keep
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp), generate

    _touch = intrinsic(_prefetching)


@compiled
def touch(array: Any, place: Any) -> None:
    """Ask for an element of a vector."""
    _touch(array, place, 0)


@compiled
def touch_later(array: Any, rows: Any, i: Any) -> None:
    """Ask for the row of `array` that a loop over `rows` gets to a little after `rows[i]`."""
    if i + AHEAD < rows.size:
        for offset in range(0, array.shape[1] * array.itemsize, _LINE):
            _touch(array, rows[i + AHEAD], offset)
