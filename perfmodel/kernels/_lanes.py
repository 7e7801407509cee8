"""One block of an array as vector lanes: compare all at once, shift some by one.

A set-associative lookup is a comparison of one tag with all ways, and a move to the front. LLVM
does not find the vector form of such short loops with an early end, so it is spelled out here. A
block is 8 lanes of int64, 16 of uint32 or 16 of uint16. Nothing here checks bounds.
"""

import numpy as np
from llvmlite import ir

from perfmodel.kernels._jit import cgutils, intrinsic, types

_INDEX = ir.IntType(32)


def lanes_in_block(itemsize: int) -> int:
    """Lanes of one block whose lanes have so many bytes: no more than 64 bytes, and than 16."""
    return min(64 // itemsize, 16)


def _block(context, builder, array_type, array, first):
    """Vector type of a block, and a pointer to the block that begins at `first`."""
    lane = context.get_data_type(array_type.dtype)
    vector = ir.VectorType(lane, lanes_in_block(array_type.dtype.bitwidth // 8))
    data = context.make_array(array_type)(context, builder, array).data
    return vector, builder.bitcast(builder.gep(data, [first]), vector.as_pointer())


def _splat(builder, vector, value):
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_INDEX, 0))
    lanes = ir.Constant(ir.VectorType(_INDEX, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, undefined, lanes)


def _lanes_of(row):
    return lanes_in_block(row.itemsize)


@intrinsic(_lanes_of)
def lanes_of(_, row):
    """Lanes of one block, known to the compiler. Allocates: no. Mutates: nothing."""

    def code(_, __, signature, ___):
        itemsize = signature.args[0].dtype.bitwidth // 8
        return ir.Constant(ir.IntType(64), lanes_in_block(itemsize))

    return types.int64(row), code


def _cast_lane(row, value):
    return row.dtype.type(value & ((1 << 8 * row.itemsize) - 1))


@intrinsic(_cast_lane)
def cast_lane(_, row, value):
    """Low bits of an int64 as a member of an array. Allocates: no. Mutates: nothing."""

    def code(context, builder, signature, arguments):
        return builder.trunc(arguments[1], context.get_data_type(signature.return_type))

    return row.dtype(row, types.int64), code


def _equal_lanes(row, first, tag):
    lanes = _lanes_of(row)
    return sum(1 << lane for lane in range(lanes) if row[first + lane] == tag)


@intrinsic(_equal_lanes)
def equal_lanes(_, row, first, tag):
    """Bit mask of the lanes of one block that equal `tag`. Allocates: no. Mutates: nothing."""

    def code(context, builder, signature, arguments):
        vector, pointer = _block(context, builder, signature.args[0], *arguments[:2])
        block = builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)
        equal = builder.icmp_unsigned("==", block, _splat(builder, vector, arguments[2]))
        mask = builder.bitcast(equal, ir.IntType(vector.count))
        return builder.zext(mask, ir.IntType(64))

    return types.int64(row, types.int64, row.dtype), code


def _push_lanes(row, first, lanes, tag):
    for lane in range(lanes_of(row) - 1, -1, -1):
        if lanes >> lane & 1:
            row[first + lane] = row[first + lane - 1] if lane > 0 else tag


@intrinsic(_push_lanes)
def push_lanes(_, row, first, lanes, tag):
    """Into each lane of a block whose bit is set goes the lane before it, into lane 0 `tag`.

    Allocates: no. Mutates: row.
    """

    def code(context, builder, signature, arguments):
        vector, pointer = _block(context, builder, signature.args[0], *arguments[:2])
        align = signature.args[0].dtype.bitwidth // 8
        block = builder.load(pointer, align=align)
        before = [0, *range(vector.count, 2 * vector.count - 1)]
        shifted = builder.shuffle_vector(
            _splat(builder, vector, arguments[3]),
            block,
            ir.Constant(ir.VectorType(_INDEX, vector.count), before),
        )
        bits = builder.trunc(arguments[2], ir.IntType(vector.count))
        moves = builder.bitcast(bits, ir.VectorType(ir.IntType(1), vector.count))
        # Through a pointer that the compiler knows nothing about, because it would make a masked
        # store of this, and the next comparison with the same set would have to wait for that.
        word = ir.IntType(64)
        same = builder.asm(
            ir.FunctionType(word, [word]), "", "=r,0", [builder.ptrtoint(pointer, word)], False
        )
        place = builder.inttoptr(same, pointer.type)
        builder.store(builder.select(moves, shifted, block), place, align=align)
        return context.get_dummy_value()

    return types.void(row, types.int64, types.int64, row.dtype), code


def _lowest_bit(mask):
    return (mask & -mask).bit_length() - 1


@intrinsic(_lowest_bit)
def lowest_bit(_, mask):
    """Index of the lowest set bit; undefined for 0. Allocates: no. Mutates: nothing."""

    def code(_, builder, __, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


def _count_bits(word):
    return np.int64(int(word).bit_count())


@intrinsic(_count_bits)
def count_bits(_, word):
    """How many bits of a uint64 are set. Allocates: no. Mutates: nothing."""

    def code(_, builder, __, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code


def _prefetch(row, index):
    pass


@intrinsic(_prefetch)
def prefetch(_, row, index):
    """Ask for the block around `index` before it is needed. Allocates: no. Mutates: nothing."""

    def code(context, builder, signature, arguments):
        _, pointer = _block(context, builder, signature.args[0], *arguments)
        flag = ir.IntType(32)
        address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # To write to, keep in all levels, data.
        builder.call(function, [address, *(ir.Constant(flag, value) for value in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(row, types.int64), code
