"""A model's card: what it is for, what it was made of, how good it is, where it fails (Mitchell et al. 2019)."""

from __future__ import annotations

from restore.contract import ModelSpec
from training.recipes import NetworkRecipe
from training.tables import Published

#: Arxiv number of the paper that proposed such cards, for readers who want to know more.
_PAPER = "arXiv:1810.03993"


def model_card(spec: ModelSpec, recipe: NetworkRecipe, published: Published) -> str:
    """Markdown: use, noise range or other limits, training data, licence, figures, known failures."""
    made = spec.made_by
    ranges = [f"- `--{p.name}`: {p.min * p.scale:g} to {p.max * p.scale:g} {p.unit}; {p.help}" for p in spec.params]
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            recipe.purpose,
            "",
            "## What it takes",
            "",
            *ranges,
            f"- It looks at {_looks_at(spec)}; pictures of any size, 8 or 16 bits, grey or colour.",
            "",
            "## What it was made of",
            "",
            f"- Network: {made['network']}",
            f"- Training: {made['steps']} steps, {made['minutes']} minutes, seed {made['seed']}, code {made['commit']}",
            f"- Data: {made['data']}",
            f"- Licence of the weights: {made['licence']}",
            "",
            "## How good it is",
            "",
            published.tables,
            "",
            f"    {published.command}",
            "",
            "## Where it fails",
            "",
            *(f"- {failure}" for failure in recipe.failures),
            "",
            f"<sub>A model card (Mitchell et al. 2019, {_PAPER}), written by `python -m training export`.</sub>",
            "",
        ]
    )


def _looks_at(spec: ModelSpec) -> str:
    if spec.answer == "labels":
        return "one digit, found in the picture and brought to 28 x 28"
    return "the whole picture" if spec.reach is None else f"{spec.reach} pixels around each"
