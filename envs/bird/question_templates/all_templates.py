"""All templates, in the order in which generate.py takes turns with them.

Invariant: the order decides which questions ship.
"""

from __future__ import annotations

from envs.bird.question_templates import challenging, moderate, simple
from envs.bird.question_templates.sampler import Template

TEMPLATES: tuple[Template, ...] = (
    simple.count_rows,
    simple.aggregate_of_all,
    simple.value_of_row,
    simple.outliers,
    moderate.aggregate_per_group,
    moderate.top_rows,
    moderate.count_in_year,
    moderate.count_nulls,
    moderate.children_of_matching_parents,
    moderate.children_of_named_parent,
    challenging.percentage,
    challenging.parents_with_many_children,
    challenging.parent_with_most,
    challenging.count_above_average,
    challenging.parents_without_children,
    challenging.aggregate_per_parent_group,
)
