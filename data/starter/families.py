"""The problem families: each is one slot or a chain of two, and every slot offers steps of one sort.

`level` is the number of steps, the natural gradient of difficulty. Multiplying maps, filters and reductions gives two
hundred combinations, so that knowing each step is not yet knowing each problem. There is deliberately little
else: a model of a million parameters learns a small set well and a large one badly.
"""

from dataclasses import dataclass

from data.starter import steps_lists as lists
from data.starter import steps_numbers as numbers
from data.starter import steps_strings as strings
from data.starter import steps_tables as tables
from data.starter.steps import Step

Slot = tuple[Step, ...]


@dataclass(frozen=True)
class Family:
    """Problems of one shape; `is_fused` allows wordings that name the reduction before the filter."""

    name: str
    group: str
    slots: tuple[Slot, ...]
    is_fused: bool = False

    @property
    def level(self) -> int:
        return len(self.slots)


def _singles(group: str, *slots: Slot) -> tuple[Family, ...]:
    return tuple(Family(f"{group}_{step.name}", group, ((step,),)) for slot in slots for step in slot)


# The order matters: families at even positions have a misconception, see misconceptions.py.
FAMILIES = (
    *_singles("list", lists.CHANGES, lists.KEEPS, lists.PARTS),
    *_singles("string", strings.PIECES),
    *_singles("words", strings.WORD_KEEPS),
    *_singles("dictionary", tables.VALUE_CHANGES, tables.ENTRY_KEEPS, tables.KEYS_WHERE),
    *_singles("number", numbers.SUMS, numbers.DIVISIONS, numbers.CHECKS),
    Family("condition_default", "condition", (numbers.DEFAULTS,)),
    Family("list_change_keep", "list", (lists.CHANGES, lists.KEEPS)),
    Family("list_keep_change", "list", (lists.KEEPS, lists.CHANGES)),
    Family("list_change_reduce", "list", (lists.CHANGES, lists.REDUCES)),
    Family("list_keep_reduce", "list", (lists.KEEPS, lists.REDUCES), is_fused=True),
    Family("list_part_reduce", "list", (lists.PARTS, lists.REDUCES)),
    Family("list_order_part", "list", (lists.ORDERS, lists.PARTS)),
    Family("dictionary_values_keep", "dictionary", (tables.VALUES, lists.KEEPS)),
    Family("dictionary_values_change", "dictionary", (tables.VALUES, lists.CHANGES)),
    Family("dictionary_keep_total", "dictionary", (tables.ENTRY_KEEPS, tables.TOTALS)),
)
