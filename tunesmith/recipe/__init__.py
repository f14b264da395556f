"""The recipe: one file that says the whole run, checked before anything is loaded.

It knows no task, no model and no torch; a task checks its own ``options``.
"""

from tunesmith.recipe.read import Source, read_recipe, resolve_options
from tunesmith.recipe.resolved import difference, recipe_digest, resolved_yaml
from tunesmith.recipe.sections import (
    AdapterSection,
    AuditSection,
    BatchSection,
    CacheSection,
    DataSection,
    EngineSection,
    ModelSection,
    OptimizerSection,
    Recipe,
    RunSection,
    Stage,
    Top,
)

__all__ = [
    "AdapterSection",
    "AuditSection",
    "BatchSection",
    "CacheSection",
    "DataSection",
    "EngineSection",
    "ModelSection",
    "OptimizerSection",
    "Recipe",
    "RunSection",
    "Source",
    "Stage",
    "Top",
    "difference",
    "read_recipe",
    "recipe_digest",
    "resolve_options",
    "resolved_yaml",
]
