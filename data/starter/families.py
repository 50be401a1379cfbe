"""The problem families: each is a chain of one to three slots, and every slot offers steps of one sort.

`level` is the number of steps, the natural gradient of difficulty. Multiplying maps, filters and reductions gives a few
hundred combinations, so that knowing each step is not yet knowing each problem.
"""

from dataclasses import dataclass

from data.starter import steps_lists as lists
from data.starter import steps_numbers as numbers
from data.starter import steps_parts as parts
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


SINGLE = (
    *_singles("list", lists.CHANGES, lists.REPLACES, lists.KEEPS, parts.PARTS, parts.MOVES, parts.LOOKUPS),
    *_singles("string", strings.PIECES, strings.JOINS, strings.LETTERS, strings.QUESTIONS),
    *_singles("words", strings.WORD_CHANGES, strings.WORD_KEEPS),
    *_singles("dictionary", tables.VALUE_CHANGES, tables.ENTRY_KEEPS, tables.KEYS_WHERE, tables.LOOKUPS),
    *_singles("number", numbers.SUMS, numbers.DIVISIONS, numbers.CHECKS, numbers.RANGES),
    Family("condition_default", "condition", (numbers.DEFAULTS,)),
    Family("condition_guard", "condition", (numbers.GUARDS,)),
    Family("condition_branch", "condition", (numbers.BRANCHES,)),
    Family("number_pair", "number", (numbers.PAIRS,)),
)

_KEEPS = lists.KEEPS + lists.PARITIES
_REORDERS = parts.PARTS + parts.MOVES + parts.ORDERS
_FIRST_EDITS = strings.PIECES + strings.JOINS + strings.LETTERS + strings.CASES
_CONDITIONS = numbers.DEFAULTS + numbers.GUARDS

TWO_STEPS = (
    Family("list_change_change", "list", (lists.CHANGES, lists.CHANGES)),
    Family("list_change_keep", "list", (lists.CHANGES, _KEEPS)),
    Family("list_keep_change", "list", (_KEEPS, lists.CHANGES)),
    Family("list_keep_keep", "list", (_KEEPS, _KEEPS)),
    Family("list_change_reduce", "list", (lists.CHANGES, parts.REDUCES)),
    Family("list_keep_reduce", "list", (_KEEPS, parts.REDUCES), is_fused=True),
    Family("list_replace_reduce", "list", (lists.REPLACES, parts.REDUCES)),
    Family("list_part_reduce", "list", (parts.PARTS + parts.MOVES[:2], parts.REDUCES)),
    Family("list_order_part", "list", (parts.ORDERS, parts.PARTS + parts.LOOKUPS[2:3])),
    Family("list_change_reorder", "list", (lists.CHANGES + lists.REPLACES, _REORDERS)),
    Family("list_reorder_change", "list", (_REORDERS, lists.CHANGES)),
    Family("list_change_lookup", "list", (lists.CHANGES, parts.LOOKUPS)),
    Family("string_edit_edit", "string", (_FIRST_EDITS, _FIRST_EDITS)),
    Family("string_edit_question", "string", (_FIRST_EDITS, strings.QUESTIONS + strings.LENGTH)),
    Family("words_change_keep", "words", (strings.WORD_CHANGES, strings.WORD_KEEPS)),
    Family("words_keep_change", "words", (strings.WORD_KEEPS, strings.WORD_CHANGES)),
    Family("dictionary_change_keep", "dictionary", (tables.VALUE_CHANGES, tables.ENTRY_KEEPS + tables.KEYS_WHERE)),
    Family("dictionary_keep_total", "dictionary", (tables.ENTRY_KEEPS, tables.TOTALS)),
    Family("dictionary_values_keep", "dictionary", (tables.VALUES, _KEEPS)),
    Family("dictionary_values_change", "dictionary", (tables.VALUES, lists.CHANGES)),
    Family("number_sum_sum", "number", (numbers.SUMS, numbers.SUMS + numbers.DIVISIONS)),
    Family("number_division_sum", "number", (numbers.DIVISIONS, numbers.SUMS)),
    Family("number_sum_check", "number", (numbers.SUMS, numbers.CHECKS + numbers.RANGES[:2])),
    Family("condition_then_sum", "condition", (_CONDITIONS, numbers.SUMS)),
)

THREE_STEPS = (
    Family("list_change_keep_reduce", "list", (lists.CHANGES, _KEEPS, parts.REDUCES)),
    Family("list_keep_change_reduce", "list", (_KEEPS, lists.CHANGES, parts.REDUCES)),
    Family("list_keep_change_reorder", "list", (_KEEPS, lists.CHANGES, parts.ORDERS + parts.PARTS)),
    Family("list_part_change_keep", "list", (parts.PARTS, lists.CHANGES, _KEEPS)),
    Family("string_edit_edit_question", "string", (_FIRST_EDITS, _FIRST_EDITS, strings.QUESTIONS + strings.LENGTH)),
    Family("dictionary_change_keep_total", "dictionary", (tables.VALUE_CHANGES, tables.ENTRY_KEEPS, tables.TOTALS)),
    Family("dictionary_values_keep_reduce", "dictionary", (tables.VALUES, _KEEPS, parts.REDUCES)),
    Family("number_sum_sum_sum", "number", (numbers.SUMS, numbers.SUMS, numbers.SUMS + numbers.DIVISIONS)),
)

FAMILIES = SINGLE + TWO_STEPS + THREE_STEPS
