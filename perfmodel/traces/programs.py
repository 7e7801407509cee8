"""Accesses of programs whose next access depends on those before."""

from __future__ import annotations

from abc import abstractmethod

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import constants
from perfmodel.constants import PAGE_BYTES
from perfmodel.errors import InputError, Problem
from perfmodel.kernels import programs as kernels
from perfmodel.specs.step import KeyValueMix, Step, Workload
from perfmodel.traces.accesses import BLOCK, Accesses, Words
from perfmodel.traces.generator import check_pages, half_bits, zipf_thresholds

# What a program remembers takes memory in proportion: at most about 512 MiB.
_MOST_STORE_PAGES = 1 << 24
_MOST_GRAPH_PAGES = 1 << 24
_MOST_HEAP_PAGES = 1 << 29
_INDEX_SHARE = 64  # pages of records for each page of the index: 16 bytes for a record of 1 KiB
_LOADED_SHARE = 8  # one record in so many is room for inserts
_WORD_BYTES = 8
_DEGREE = 16  # Graph500's edge factor
_WORDS_PER_VERTEX = _DEGREE + 3
_OBJECT_PAGES = 16
_USES = 32


@attrs.frozen
class Program(Accesses):
    """Accesses that have to be made in their order; one that lies behind begins anew."""

    pages: int
    accesses: int
    _state: Words = attrs.field(
        init=False,
        eq=False,
        repr=False,
        factory=lambda: np.zeros(kernels.STATE_CELLS, dtype=np.int64),
    )
    _next: list[int] = attrs.field(init=False, eq=False, repr=False, factory=lambda: [-1])

    @abstractmethod
    def _reset(self) -> None:
        """Forget everything but what is there at the beginning; the state is all zeros."""

    @abstractmethod
    def _run(self, words: Words) -> None:
        """Write the next accesses."""

    def fill_words(self, first: int, words: Words) -> None:
        """Write the accesses from number `first` on into an array."""
        if self._next[0] < 0 or first < self._next[0]:
            self._state[:] = 0
            self._reset()
            self._next[0] = 0
        skipped = np.empty(min(BLOCK, first - self._next[0]), dtype=np.int64)
        while self._next[0] < first:
            part = skipped[: first - self._next[0]]
            self._run(part)
            self._next[0] += part.size
        self._run(words)
        self._next[0] += words.size


@attrs.frozen
class KeyValueStore(Program):
    """Operations of a key-value store: an index, and records of 1 KiB in the order of their keys.

    Parameters
    ----------
    pages, accesses : int
    mix : KeyValueMix
    seed : int
    exponent : float
        How unequally keys are asked for; YCSB's is 0.99.
    """

    mix: KeyValueMix = KeyValueMix.A
    seed: int = 0
    exponent: float = 1.0
    _store: npt.NDArray[np.void] = attrs.field(init=False, eq=False, repr=False)
    _thresholds: Words = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_pages(Workload.KEY_VALUE, self.pages, _MOST_STORE_PAGES)
        if self.pages < 2:
            message = "a key-value workload takes at least 2 pages, one of them for its index"
            raise InputError(Problem(message, key="region.size"))
        index = max(1, self.pages // (_INDEX_SHARE + 1))
        capacity = (self.pages - index) * kernels.RECORDS_PER_PAGE
        loaded = max(1, capacity - capacity // _LOADED_SHARE)
        store = np.zeros(1, dtype=kernels.STORE)
        for name, value in {
            "mix": int(constants.KeyValueMix[self.mix.name]),
            "seed": self.seed,
            "index_pages": index,
            "loaded": loaded,
            "capacity": capacity,
            "half_bits": half_bits(loaded),
        }.items():
            store[name] = value
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_thresholds", zipf_thresholds(loaded, self.exponent))

    def _reset(self) -> None:
        pass

    def _run(self, words: Words) -> None:
        kernels.run_store(self._store[0], self._thresholds, self._state, words)


@attrs.frozen
class GraphSearch(Program):
    """Breadth-first searches over a random graph of 16 edges for each vertex, from random roots.

    Parameters
    ----------
    pages, accesses : int
    seed : int
    """

    seed: int = 0
    _graph: npt.NDArray[np.void] = attrs.field(init=False, eq=False, repr=False)
    _queue: Words = attrs.field(init=False, eq=False, repr=False)
    _visited: npt.NDArray[np.uint8] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_pages(Workload.GRAPH_SEARCH, self.pages, _MOST_GRAPH_PAGES)
        vertices = self.pages * PAGE_BYTES // (_WORDS_PER_VERTEX * _WORD_BYTES)
        graph = np.zeros(1, dtype=kernels.GRAPH)
        graph["seed"], graph["vertices"], graph["degree"] = self.seed, vertices, _DEGREE
        graph["half_bits"] = half_bits(vertices)
        object.__setattr__(self, "_graph", graph)
        object.__setattr__(self, "_queue", np.zeros(vertices, dtype=np.int64))
        object.__setattr__(self, "_visited", np.zeros(vertices, dtype=np.uint8))

    def _reset(self) -> None:
        self._visited[:] = 0

    def _run(self, words: Words) -> None:
        kernels.run_search(self._graph[0], self._state, self._queue, self._visited, words)


@attrs.frozen
class Churn(Program):
    """A heap of objects of 64 KiB: allocated and written, used at random, freed.

    Half of the places hold an object, on average; the place that was freed last is taken first.

    Parameters
    ----------
    pages, accesses : int
    seed : int
    """

    seed: int = 0
    _heap: npt.NDArray[np.void] = attrs.field(init=False, eq=False, repr=False)
    _places: Words = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_pages(Workload.CHURN, self.pages, _MOST_HEAP_PAGES)
        object_pages = min(_OBJECT_PAGES, self.pages)
        heap = np.zeros(1, dtype=kernels.HEAP)
        heap["seed"], heap["objects"] = self.seed, self.pages // object_pages
        heap["object_pages"], heap["uses"] = object_pages, _USES
        object.__setattr__(self, "_heap", heap)
        object.__setattr__(self, "_places", np.zeros(self.pages // object_pages, dtype=np.int64))

    def _reset(self) -> None:
        self._places[:] = np.arange(self._places.size)

    def _run(self, words: Words) -> None:
        kernels.run_heap(self._heap[0], self._state, self._places, words)


def program_of(step: Step, pages: int) -> Program:
    """The program behind an access step to a region of so many pages."""
    accesses = step.number_of_accesses(pages)
    if step.workload is Workload.KEY_VALUE:
        return KeyValueStore(pages, accesses, step.mix, step.seed, step.exponent)
    if step.workload is Workload.GRAPH_SEARCH:
        return GraphSearch(pages, accesses, step.seed)
    return Churn(pages, accesses, step.seed)
