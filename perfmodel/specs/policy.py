"""Policies: the modelled kernel's choices, and the short names of the arms that users compare."""

from __future__ import annotations

import re

import attrs

from perfmodel.constants import PAGE_BYTES
from perfmodel.errors import InputError, Problem, nearest
from perfmodel.specs.quantity import text, whole_number


@attrs.frozen
class Policy:
    """What the modelled kernel does at swap-out and swap-in of a THP.

    Parameters
    ----------
    swap_entry : str
        ``pte`` or ``pmd``: the level of the swap entry left behind for a whole THP.
    swapin_order : int
        Folio order that a PTE swap fault tries first; 0 is one 4 KiB page.
    order9_failure : float
        Probability that no order-9 page can be had at a PMD swap-in.
    lazy_page_table_deposit : bool
        Whether a PMD leaf keeps no PTE table in reserve.
    batched_unmap : bool
        Whether swap-out replaces all PTEs of a folio in one go instead of one by one.
    """

    name: str = attrs.field(validator=text)
    kernel: str = attrs.field(validator=text)
    swap_entry: str = attrs.field(validator=attrs.validators.in_(("pte", "pmd")))
    swapin_order: int = whole_number(0, 8, default=0)
    order9_failure: float = attrs.field(default=0.0)
    lazy_page_table_deposit: bool = attrs.field(
        default=False, validator=attrs.validators.instance_of(bool)
    )
    batched_unmap: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    description: str = attrs.field(default="", validator=attrs.validators.instance_of(str))

    @order9_failure.validator
    def _is_probability(self, _: object, value: object) -> None:
        if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
            raise ValueError("must be a probability from 0 to 1")


_MTHP_ENTRY = re.compile(r"mthp-([0-9]{1,5})k")
MTHP_SIZES_KIB = (16, 32, 64, 128, 256, 512, 1024)
MTHP_ENTRIES = tuple(f"mthp-{size}k" for size in MTHP_SIZES_KIB)
# Kernels that only the model has: their policy files, beside those of `pte` and `pmd`.
VARIANT_POLICIES = {"pte-batched": "linux-6.18-batched-unmap", "pmd-lazy": "linux-pmd-swap-lazy"}
SIMULATED_ENTRIES = ("pte", "pte-batched", *MTHP_ENTRIES, "pmd", "pmd-lazy")
# A memfd THP swaps in whole on a stock kernel: the live stand-in for a PMD swap entry.
SHMEM_ENTRY = "shmem-pmd"
MEASURED_ENTRIES = ("pte", *MTHP_ENTRIES, SHMEM_ENTRY, "pmd")
ALL_ENTRIES = (*SIMULATED_ENTRIES, SHMEM_ENTRY)


def mthp_order(entry: str) -> int:
    """Folio order at which an arm's PTE swap faults read: 0 for ``pte``, 4 for ``mthp-64k``."""
    match = _MTHP_ENTRY.fullmatch(entry)
    if match is None:
        return 0
    return (int(match[1]) * 1024 // PAGE_BYTES).bit_length() - 1


def policy_name(entry: str) -> str:
    """Name of the policy file behind an arm's short name."""
    return VARIANT_POLICIES.get(entry, "linux-pmd-swap" if entry == "pmd" else "linux-6.18")


def check_entry(entry: str, allowed: tuple[str, ...], *, key: str = "entry") -> None:
    """Raise an `InputError` unless `entry` is one of `allowed`."""
    if entry not in allowed:
        hint = ""
        if entry == SHMEM_ENTRY:
            hint = " (shmem-pmd exists only on a live kernel; its prediction is pmd)"
        elif entry in VARIANT_POLICIES:
            hint = f" ({entry} exists only in the model)"
        hint = hint or nearest(entry, allowed)
        message = f"{str(entry)[:40]!r} is not an entry{hint}; choose from {', '.join(allowed)}"
        raise InputError(Problem(message, key=key))
