"""A pretrained model as layer groups, bottom to top: embeddings, blocks, neck, head.

One view serves freezing, unfreezing, rates by depth, the cache boundary and recomputation. It knows no task and no
loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from tunesmith.errors import UserError

EMBEDDINGS, NECK, HEAD, ADAPTER = "embeddings", "neck", "head", "adapter"


@dataclass(frozen=True)
class LayerGroups:
    """Names of parameters by layer group.

    Args:
        model: The whole model.
        trunk: What was pretrained; everything outside it is the head.
        blocks: Repeated layers in execution order, inside the trunk.
        groups: Group name to parameter names, bottom to top: ``embeddings`` (in the trunk, below the blocks),
            ``block 0`` .., ``neck`` (in the trunk, above the blocks: final norm, pooler), ``head``.
        helpers: Blocks that stages and adapters pass over (a VAE beside a denoiser).
    """

    model: nn.Module
    trunk: nn.Module
    blocks: tuple[nn.Module, ...]
    groups: dict[str, tuple[str, ...]]
    helpers: tuple[nn.Module, ...] = field(default=())

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        trunk: nn.Module | None = None,
        blocks: Sequence[nn.Module] | None = None,
        fresh: frozenset[str] = frozenset(),
        adapter: frozenset[str] = frozenset(),
        helpers: Sequence[nn.Module] = (),
    ) -> LayerGroups:
        """Read the groups off a model.

        The trunk is the transformers base model where there is one. The blocks are its outermost module lists, in
        the order in which they are registered, which is the order of execution where a list holds whole blocks. Where
        lists stand side by side that hold parts of blocks (XLM), there are none: ``train: {top: n}`` then says so.

        Args:
            model: The whole model.
            trunk: Overrides the trunk.
            blocks: Overrides the blocks.
            fresh: Parameters that the pretrained weights did not hold; they belong to the head wherever they stand,
                because a random layer that stays frozen can't be right.
            adapter: Names of adapter parameters, a group of their own wherever they stand.
            helpers: Modules that never learn.
        """
        body = trunk if trunk is not None else _trunk_of(model)
        found = tuple(blocks) if blocks is not None else tuple(_blocks_of(body))
        return cls(model, body, found, _group(model, body, found, fresh, adapter), tuple(helpers))

    def names(self, group: str) -> tuple[str, ...]:
        """Parameter names of one group; empty if there is no such group."""
        return self.groups.get(group, ())

    def learning(self, train: str | int) -> list[str]:
        """Names of the groups that learn, bottom to top.

        Args:
            train: ``head``, ``all``, ``adapter``, or a number of blocks from the top.

        Raises:
            UserError: More blocks are asked for than there are, or the blocks are unknown.
        """
        still = {f"block {i}" for i, block in enumerate(self.blocks) if any(block is one for one in self.helpers)}
        if train == "all":
            return [group for group in self.groups if self.groups[group] and group not in still]
        if train in (HEAD, ADAPTER):
            wanted = (ADAPTER, HEAD) if train == ADAPTER else (HEAD,)
            found = [group for group in wanted if self.groups.get(group)]
            if not found:
                kind = type(self.model).__name__
                what = f"stages: {kind} has no {train} to train: all its layers are pretrained"
                raise UserError(what, kind, "write train: {top: n}, or adapter: {kind: lora} and train: adapter")
            return found
        count = int(train)
        kind = type(self.model).__name__
        if not self.blocks:
            raise UserError(
                f"stages: the blocks of {kind} can't be found, so 'top: {count}' has no meaning",
                kind,
                "name its module lists in the recipe, as in model: {name: ..., blocks: [encoder.layer]}, or train all",
            )
        most = len(self.blocks) - len(still)
        if count > most:
            raise UserError(
                f"stages: top {count} is more than the {most} blocks that {kind} has",
                kind,
                f"write at most top: {most}, or train: all",
            )
        top = [f"block {i}" for i in range(len(self.blocks) - count, len(self.blocks))]
        return [*top, *(group for group in (NECK, HEAD) if self.groups.get(group))]

    def tensors(self, group: str) -> dict[str, Tensor]:
        """Parameters of a group, and the buffers of the modules that hold them (running statistics)."""
        found: dict[str, Tensor] = dict(self.parameters(group))
        for owner in {name.rpartition(".")[0] for name in found}:
            buffers = self.model.get_submodule(owner).named_buffers(recurse=False)
            found |= {f"{owner}.{name}".lstrip("."): buffer for name, buffer in buffers}
        return found

    def modules(self) -> dict[str, list[nn.Module]]:
        """The outermost modules of each group: those whose parameters all belong to it."""
        groups = self.by_parameter()
        found: dict[str, list[nn.Module]] = {f"block {i}": [block] for i, block in enumerate(self.blocks)}
        inside = {id(one) for block in self.blocks for one in block.modules()}
        for module in self.model.modules():
            own = {groups.get(id(parameter)) for parameter in module.parameters()}
            if id(module) not in inside and len(own) == 1 and (name := own.pop()) is not None:
                found.setdefault(name, []).append(module)
                inside |= {id(one) for one in module.modules()}
        return found

    def by_parameter(self) -> dict[int, str]:
        """The group of every parameter, by its identity: names change when an adapter is put around a layer."""
        groups = {name: group for group, names in self.groups.items() for name in names}
        return {id(p): groups[name] for name, p in self.model.named_parameters() if name in groups}

    def with_adapter(self, fresh: frozenset[str], adapter: frozenset[str], before: Mapping[int, str]) -> LayerGroups:
        """The same groups after an adapter was attached, its parameters a group of their own.

        Args:
            fresh: Parameters that the pretrained weights did not hold.
            adapter: Names of the adapter's parameters.
            before: From ``by_parameter``, before it was attached.
        """
        found = LayerGroups.of(self.model, trunk=self.trunk, blocks=self.blocks, fresh=fresh, adapter=adapter)
        parameters = dict(self.model.named_parameters())
        groups: dict[str, list[str]] = {group: [] for group in (*found.groups, *self.groups)}
        for group, names in found.groups.items():
            for name in names:
                groups[group if name in adapter else before.get(id(parameters[name]), group)].append(name)
        order = [EMBEDDINGS, *(f"block {i}" for i in range(len(self.blocks))), NECK, ADAPTER, HEAD]
        kept = {name: tuple(groups.get(name, ())) for name in order if groups.get(name) or name == HEAD}
        return LayerGroups(self.model, self.trunk, self.blocks, kept, self.helpers)

    def adapted_blocks(self, top: int | None) -> tuple[nn.Module, ...]:
        """The blocks that an adapter goes on: all of them, or ``top`` from the top; the trunk where there are none.

        Raises:
            UserError: There are not so many.
        """
        blocks = tuple(block for block in self.blocks if not any(block is one for one in self.helpers))
        if top is not None and top > len(blocks):
            kind = type(self.model).__name__
            what = f"adapter.top: {top} is more than the {len(blocks)} blocks of {kind}"
            raise UserError(what, kind, f"write at most {len(blocks)}, or leave it out")
        return (blocks[-top:] if top is not None else blocks) or (self.trunk,)

    def apply(self, learning: Sequence[str], within: Sequence[str] | None = None) -> None:
        """Let exactly these groups learn. Frozen means no gradient and ``eval`` mode: no dropout, still statistics.

        Args:
            learning: Names of groups.
            within: Names of modules that a learning parameter must lie in; None: anywhere.
        """
        names = {name for group in learning for name in self.groups[group] if lies_within(name, within)}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in names)
        self.train_mode()

    def train_mode(self) -> None:
        """Training mode for modules that hold a learning parameter or stand above one; ``eval`` for the rest.

        Modules without parameters (dropout) follow their parent, except those of the trunk outside its blocks (GPT-2's
        dropout after the embeddings): they stay in ``eval`` until the embeddings learn, or the frozen part would be
        random.
        """
        self.model.eval()
        within = {id(m) for block in self.blocks for m in block.modules()}
        loose = {id(m) for m in self.trunk.modules()} - within if self.trunk is not self.model else set()
        if any(p.requires_grad for _, p in self.parameters(EMBEDDINGS)) or not self.blocks:
            loose = set()
        for module in self.model.modules():
            if any(p.requires_grad for p in module.parameters()):
                module.training = True
        for module in self.model.modules():
            if module.training and id(module) not in loose:
                for child in module.children():
                    if next(child.parameters(), None) is None:
                        child.train()

    def parameters(self, group: str) -> Iterator[tuple[str, nn.Parameter]]:
        """Named parameters of a group."""
        wanted = set(self.groups.get(group, ()))
        return ((name, p) for name, p in self.model.named_parameters() if name in wanted)

    def size(self, group: str) -> int:
        """Number of parameters in a group."""
        return sum(p.numel() for _, p in self.parameters(group))


def _trunk_of(model: nn.Module) -> nn.Module:
    inner = getattr(model, getattr(model, "base_model_prefix", "") or "_", None)
    return inner if isinstance(inner, nn.Module) else model


def _blocks_of(trunk: nn.Module) -> Iterator[nn.Module]:
    """Elements of the outermost module lists that hold parameters."""
    lists = [child for child in trunk.children() if isinstance(child, nn.ModuleList)]
    if _side_by_side(lists):
        return
    for child in trunk.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from _blocks_of(child)


def _side_by_side(lists: Sequence[nn.ModuleList]) -> bool:
    """Whether lists of one parent hold parts of blocks, not blocks (XLM: attentions beside norms beside networks).

    Read one after the other they would make every norm a block, and ``top: 1`` would train one norm.
    """
    lengths = [len(members) for members in lists]
    return any(
        lengths.count(len(members)) > 1 and all(next(m.children(), None) is None for m in members)
        for members in lists
        if len(members)
    )


def lies_within(name: str, modules: Sequence[str] | None) -> bool:
    """Whether a parameter lies in a module of one of these names, which may be dotted; None: any."""
    return modules is None or any(f".{module}." in f".{name}" for module in modules)


def blocks_named(model: nn.Module, paths: Sequence[str]) -> list[nn.Module]:
    """The blocks under dotted paths, as a recipe declares them.

    Raises:
        UserError: A path leads nowhere.
    """
    found: list[nn.Module] = []
    for path in paths:
        matches = [m for name, m in model.named_modules() if name == path or name.endswith("." + path)]
        if not matches:
            lists = [name for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
            raise UserError(
                f"model.blocks: {type(model).__name__} has no module {path!r}",
                "recipe: model.blocks",
                f"write one of its module lists: {', '.join(lists) or '(it has none)'}",
            )
        found.extend(matches[0] if isinstance(matches[0], nn.ModuleList) else [matches[0]])
    return found


def _group(
    model: nn.Module, trunk: nn.Module, blocks: Sequence[nn.Module], fresh: frozenset[str], adapter: frozenset[str]
) -> dict[str, tuple[str, ...]]:
    of_block = {id(p): i for i, block in enumerate(blocks) for p in block.parameters()}
    in_trunk = {id(p) for p in trunk.parameters()} if trunk is not model else set()
    groups: dict[str, list[str]] = {EMBEDDINGS: []}
    groups |= {f"block {i}": [] for i in range(len(blocks))} | {NECK: [], ADAPTER: [], HEAD: []}
    owners = dict(model.named_modules())
    feeding = _feeders(model, blocks)
    passed = -1
    for name, parameter in model.named_parameters():
        index = of_block.get(id(parameter))
        if name in adapter:
            groups[ADAPTER].append(name)
        elif index is not None and name not in fresh:
            groups[f"block {index}"].append(name)
            passed = index
        elif name in fresh or (trunk is not model and id(parameter) not in in_trunk):
            groups[HEAD].append(name)
        else:
            groups[_outside_blocks(name, owners, feeding, passed, len(blocks))].append(name)
    if trunk is model and not groups[HEAD]:
        groups[HEAD], groups[NECK] = groups[NECK], []
    return {name: tuple(members) for name, members in groups.items() if members or name == HEAD}


def _outside_blocks(
    name: str, owners: Mapping[str, nn.Module], feeding: frozenset[nn.Module], passed: int, blocks: int
) -> str:
    """The group of a trunk's parameter that stands in no block.

    The order of registration tells most of them, but not all: OPT registers its last norm before its blocks, BART the
    norm of its embeddings after them, MPNet and DeBERTa the relative positions that every block reads.

    Args:
        name: The parameter's name.
        owners: Modules by name.
        feeding: Modules that are known to feed the blocks.
        passed: Index of the block that was registered last before it, -1 for none.
        blocks: How many there are.
    """
    if not blocks:
        return EMBEDDINGS
    path = name.split(".")[:-1]
    owner = owners[".".join(path)]
    if owner in feeding or isinstance(owner, nn.Embedding) or any("embed" in part.lower() for part in path[-2:]):
        return EMBEDDINGS
    last = path[-1].lower() if path else ""
    if passed == blocks - 1 or "final" in last:
        # A norm at the end of a first stack of two belongs to the block below it.
        return NECK if passed in (-1, blocks - 1) else f"block {passed}"
    return EMBEDDINGS if passed < 0 else f"block {passed}"


def _feeders(model: nn.Module, blocks: Sequence[nn.Module]) -> frozenset[nn.Module]:
    """Modules beside a list of blocks that are registered after it with an embedding.

    DeBERTa's relative positions, their norm, and its convolution.
    """
    known = {id(block) for block in blocks}
    found: set[nn.Module] = set()
    for parent in model.modules():
        children = list(parent.children())
        lists = [i for i, c in enumerate(children) if isinstance(c, nn.ModuleList) and any(id(m) in known for m in c)]
        after = children[lists[-1] + 1 :] if lists else []
        if any(isinstance(child, nn.Embedding) for child in after):
            found |= {m for child in after for m in child.modules()}
    return frozenset(found)
