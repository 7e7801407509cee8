"""Accesses of programs that remember what they did: a key-value store, a graph search, a heap.

Each kernel writes accesses, words of 2 x page + (1 for a write), and goes on where it stopped.
Random numbers depend on the seed and a number that counts up in the state, so that what comes
does not depend on how the accesses are cut into blocks.
"""

import numpy as np

from perfmodel.constants import PAGE_BYTES, KeyValueMix
from perfmodel.kernels._jit import inner_kernel, kernel
from perfmodel.kernels.access_pattern import find_rank, scatter
from perfmodel.kernels.random import uniform_32

_ALL = np.int64(1) << 32

# What a program remembers; which of the cells it uses, it says itself.
STATE_CELLS = 8
TURN = 0  # operations, or vertices, or calls so far

# Streams of random numbers; those below 8 are the scattering's.
_KIND, _KEY, _KEY_FINE, _LENGTH, _BUCKET = 16, 17, 18, 19, 20
_ROOT, _EDGE, _EDGE_TOO = 24, 25, 26
_CALL, _VICTIM, _USE, _USE_KIND = 32, 33, 34, 35

# Key-value store

STORE = np.dtype(
    [
        ("mix", np.int64),
        ("seed", np.int64),
        ("index_pages", np.int64),
        ("loaded", np.int64),  # records at the beginning
        ("capacity", np.int64),  # records that fit
        ("half_bits", np.int64),
    ],
    align=True,
)
RECORDS_PER_PAGE = 4  # of 1 KiB: ten fields of 100 bytes and what is around them
LONGEST_SCAN = 100
_INSERTED, _NEXT_PAGE, _LEFT, _DOES = 1, 2, 3, 4
_READS, _WRITES, _READS_THEN_WRITES = 0, 1, 2

# Out of 100 operations: which are no plain reads.
_UPDATES = (50, 5, 0, 0, 0, 0)
_INSERTS = (0, 0, 0, 5, 5, 0)
_SCANS = (0, 0, 0, 0, 95, 0)
_MODIFIES = (0, 0, 0, 0, 0, 50)


@inner_kernel
def _begin_operation(store, thresholds, state):
    """Choose the next operation; returns the access to the index that it begins with."""
    turn, seed = state[TURN], store["seed"]
    state[TURN] += 1
    mix = store["mix"]
    percent = (uniform_32(seed, np.int64(_KIND), turn) * 100) >> 32
    count = min(store["loaded"] + state[_INSERTED], store["capacity"])
    coarse = uniform_32(seed, np.int64(_KEY), turn)
    fine = uniform_32(seed, np.int64(_KEY_FINE), turn)
    rank = find_rank(thresholds, ((coarse >> 1) << 31) | (fine >> 1))
    if mix == KeyValueMix.D:
        record = count - 1 - rank
    else:
        record = scatter(rank, store["loaded"], store["half_bits"], seed)
    pages = np.int64(1)
    does = np.int64(_READS)
    inserts = percent < _INSERTS[mix]
    if inserts:
        # A store that is full writes its last record again.
        record = min(count, store["capacity"] - 1)
        state[_INSERTED] = min(state[_INSERTED] + 1, store["capacity"] - store["loaded"])
        does = np.int64(_WRITES)
    elif percent < _UPDATES[mix]:
        does = np.int64(_WRITES)
    elif percent < _MODIFIES[mix]:
        does = np.int64(_READS_THEN_WRITES)
        pages = np.int64(2)
    elif _SCANS[mix] > 0:
        length = 1 + ((uniform_32(seed, np.int64(_LENGTH), turn) * LONGEST_SCAN) >> 32)
        last = min(record + length, count) - 1
        pages = last // RECORDS_PER_PAGE - record // RECORDS_PER_PAGE + 1
    state[_NEXT_PAGE] = store["index_pages"] + record // RECORDS_PER_PAGE
    state[_LEFT] = pages
    state[_DOES] = does
    bucket = (uniform_32(seed, np.int64(_BUCKET), record) * store["index_pages"]) >> 32
    return bucket * 2 + (1 if inserts else 0)


@kernel
def run_store(store, thresholds, state, block):
    """Accesses of a key-value store: for each operation a page of the index, then the record's.

    Allocates: no. Mutates: state, block.
    """
    for index in range(block.shape[0]):
        if state[_LEFT] == 0:
            block[index] = _begin_operation(store, thresholds, state)
            continue
        state[_LEFT] -= 1
        word = state[_NEXT_PAGE] * 2
        if state[_DOES] == _WRITES:
            word += 1
        elif state[_DOES] == _READS_THEN_WRITES:
            word += 1 - state[_LEFT]
        else:
            state[_NEXT_PAGE] += 1
        block[index] = word


# Breadth-first search

GRAPH = np.dtype(
    [
        ("seed", np.int64),
        ("vertices", np.int64),
        ("degree", np.int64),
        ("half_bits", np.int64),
    ],
    align=True,
)
_WORDS_PER_PAGE = PAGE_BYTES // 8
_HEAD, _TAIL, _VERTEX, _EDGE_NUMBER, _STAGE, _TARGET, _SEARCH = 1, 2, 3, 4, 5, 6, 7
_TAKE, _OFFSET, _READ_EDGE, _READ_PARENT, _WRITE_PARENT, _WRITE_QUEUE = 0, 1, 2, 3, 4, 5


@inner_kernel
def _begin_search(graph, state, queue, visited):
    """Put the next root into the queue: one that no search since the last clearing has reached."""
    vertices = graph["vertices"]
    if state[_TAIL] == vertices:
        visited[:] = 0
        state[_HEAD] = state[_TAIL] = 0
    draw = uniform_32(graph["seed"], np.int64(_ROOT), state[_SEARCH])
    root = (draw * vertices) >> 32
    while visited[root]:
        root = (root + 1) % vertices
    state[_SEARCH] += 1
    visited[root] = 1
    queue[state[_TAIL]] = root
    state[_TAIL] += 1


@inner_kernel
def _end_of_edge(graph, vertex, edge):
    """Where an edge leads: few vertices are the end of many."""
    number = vertex * graph["degree"] + edge
    one = uniform_32(graph["seed"], np.int64(_EDGE), number)
    other = uniform_32(graph["seed"], np.int64(_EDGE_TOO), number)
    # Halves, whose product is below 2**62.
    rank = ((((one >> 1) * (other >> 1)) >> 30) * graph["vertices"]) >> 32
    return scatter(rank, graph["vertices"], graph["half_bits"], graph["seed"])


@kernel
def run_search(graph, state, queue, visited, block):
    """Accesses of breadth-first searches, one after the other, over a graph in CSR form.

    In memory stand the offsets of all vertices, their edges, their parents and the queue, 8 bytes
    each. `queue` is int64 and `visited` uint8, one for each vertex.
    Allocates: no. Mutates: state, queue, visited, block.
    """
    vertices, degree = graph["vertices"], graph["degree"]
    edges = vertices
    parents = edges + vertices * degree
    places = parents + vertices
    for index in range(block.shape[0]):
        stage = state[_STAGE]
        write = 0
        if stage == _TAKE:
            if state[_HEAD] == state[_TAIL]:
                _begin_search(graph, state, queue, visited)
            state[_VERTEX] = queue[state[_HEAD]]
            word = places + state[_HEAD]
            state[_HEAD] += 1
            state[_STAGE] = _OFFSET
        elif stage == _OFFSET:
            word = state[_VERTEX]
            state[_EDGE_NUMBER] = 0
            state[_STAGE] = _READ_EDGE
        elif stage == _READ_EDGE:
            word = edges + state[_VERTEX] * degree + state[_EDGE_NUMBER]
            state[_TARGET] = _end_of_edge(graph, state[_VERTEX], state[_EDGE_NUMBER])
            state[_STAGE] = _READ_PARENT
        else:
            word = parents + state[_TARGET]
            next_edge = stage == _READ_PARENT and visited[state[_TARGET]] != 0
            if stage == _READ_PARENT and not next_edge:
                state[_STAGE] = _WRITE_PARENT
            elif stage == _WRITE_PARENT:
                write = 1
                visited[state[_TARGET]] = 1
                state[_STAGE] = _WRITE_QUEUE
            elif stage == _WRITE_QUEUE:
                write = 1
                word = places + state[_TAIL]
                queue[state[_TAIL]] = state[_TARGET]
                state[_TAIL] += 1
                next_edge = True
            if next_edge:
                state[_EDGE_NUMBER] += 1
                done = state[_EDGE_NUMBER] == degree
                state[_STAGE] = _TAKE if done else _READ_EDGE
        block[index] = word // _WORDS_PER_PAGE * 2 + write


# Allocate and free

HEAP = np.dtype(
    [
        ("seed", np.int64),
        ("objects", np.int64),  # that fit
        ("object_pages", np.int64),
        ("uses", np.int64),  # accesses to living objects between two calls
    ],
    align=True,
)
_LIVE, _NEXT, _TO_CLEAR, _TO_USE, _USED = 1, 2, 3, 4, 5


@inner_kernel
def _call(heap, state, places):
    """Allocate or free an object: the more are alive, the rarer is an allocation."""
    turn, seed, objects = state[TURN], heap["seed"], heap["objects"]
    state[TURN] += 1
    live = state[_LIVE]
    if (uniform_32(seed, np.int64(_CALL), turn) * objects) >> 32 >= live:
        # The place that was freed last.
        state[_NEXT] = places[live] * heap["object_pages"]
        state[_TO_CLEAR] = heap["object_pages"]
        state[_LIVE] += 1
    else:
        victim = (uniform_32(seed, np.int64(_VICTIM), turn) * live) >> 32
        last = live - 1
        places[victim], places[last] = places[last], places[victim]
        state[_LIVE] -= 1
    state[_TO_USE] = heap["uses"] if state[_LIVE] > 0 else 0


@kernel
def run_heap(heap, state, places, block):
    """Accesses of a program that allocates, writes, uses and frees objects of one size.

    `places` holds every place for an object once: first the living ones, then the free ones, the
    last one freed in front. Allocates: no. Mutates: state, places, block.
    """
    seed = heap["seed"]
    for index in range(block.shape[0]):
        while state[_TO_CLEAR] == 0 and state[_TO_USE] == 0:
            _call(heap, state, places)
        if state[_TO_CLEAR] > 0:
            block[index] = state[_NEXT] * 2 + 1
            state[_NEXT] += 1
            state[_TO_CLEAR] -= 1
            continue
        draw = uniform_32(seed, np.int64(_USE), state[_USED])
        page = (draw * (state[_LIVE] * heap["object_pages"])) >> 32
        kind = uniform_32(seed, np.int64(_USE_KIND), state[_USED])
        place = places[page // heap["object_pages"]]
        number = place * heap["object_pages"] + page % heap["object_pages"]
        block[index] = number * 2 + (1 if kind < _ALL // 4 else 0)
        state[_USED] += 1
        state[_TO_USE] -= 1
