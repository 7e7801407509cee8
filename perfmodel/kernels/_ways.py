"""One set as one vector of exactly as many lanes as it has ways, which the compiler knows."""

from llvmlite import ir

from perfmodel.kernels._jit import cgutils, intrinsic, types

_INDEX = ir.IntType(32)


def _use_ways(row, first, tag, ways):
    here = [int(row[first + way]) for way in range(ways)]
    depth = here.index(tag) if tag in here else ways
    for way in range(min(depth, ways - 1), 0, -1):
        row[first + way] = row[first + way - 1]
    row[first] = tag
    return depth


@intrinsic(_use_ways, constants=True)
def use_ways(_, row, first, tag, ways):
    """Move a tag to the front of a set, inserting it on a miss. Its depth, or `ways` on a miss.

    `ways` must be known to the compiler, a power of two from 2 to 16. Allocates: no. Mutates: row.
    """
    if not isinstance(ways, types.IntegerLiteral):
        return None
    lanes = ways.literal_value

    def code(context, builder, signature, arguments):
        lane = context.get_data_type(signature.args[0].dtype)
        align = signature.args[0].dtype.bitwidth // 8
        vector = ir.VectorType(lane, lanes)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer())
        block = builder.load(pointer, align=align)
        undefined = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(undefined, arguments[2], ir.Constant(_INDEX, 0))
        zeros = ir.Constant(ir.VectorType(_INDEX, lanes), [0] * lanes)
        tags = builder.shuffle_vector(one, undefined, zeros)
        equal = builder.bitcast(builder.icmp_unsigned("==", block, tags), ir.IntType(lanes))
        # A bit behind the last way stands for a miss.
        mask = builder.or_(builder.zext(equal, _INDEX), ir.Constant(_INDEX, 1 << lanes))
        depth = builder.cttz(mask, ir.Constant(ir.IntType(1), 1))
        # All lanes up to the tag's own move. Which ones these are is read from a table: a mask that
        # the compiler knew to be one would become a masked store, and the next load of the same set
        # would have to wait for that.
        rows = [[-1 if other <= until else 0 for other in range(lanes)] for until in range(lanes)]
        rows.append(rows[-1])
        table = ir.Constant(
            ir.ArrayType(vector, len(rows)), [ir.Constant(vector, row) for row in rows]
        )
        masks = cgutils.global_constant(builder, f"moves_{lanes}", table)
        masks.align = 64
        moves = builder.load(builder.gep(masks, [ir.Constant(_INDEX, 0), depth]), align=align)
        before = ir.Constant(ir.VectorType(_INDEX, lanes), [0, *range(lanes, 2 * lanes - 1)])
        shifted = builder.shuffle_vector(tags, block, before)
        kept = builder.and_(block, builder.not_(moves))
        builder.store(builder.or_(builder.and_(shifted, moves), kept), pointer, align=align)
        return builder.zext(depth, ir.IntType(64))

    return types.int64(row, types.int64, row.dtype, ways), code
