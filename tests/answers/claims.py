"""Answers to the exercises on the ledger: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import torch
from torch import nn


def share(net, *, bias=True, modules=nn.Module.modules, percent=False, total=None):
    """The share of the layers; mistakes change a part."""
    found = set()
    for layer in modules(net):
        if isinstance(layer, nn.Linear):
            found |= {layer.weight} if not bias else set(layer.parameters())
    part = sum(p.numel() for p in found)
    whole = sum(p.numel() for p in (total or nn.Module.parameters)(net))
    return part / whole * (100 if percent else 1)


def twice(net):
    part = sum(
        p.numel() for m in net if isinstance(m, nn.Linear) for p in m.parameters()
    )
    inner = [m for m in net if isinstance(m, nn.Sequential)]
    part += sum(share(m) * sum(p.numel() for p in m.parameters()) for m in inner)
    return part / sum(p.numel() for p in net.parameters())


def last_only(net):
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    part = sum(p.numel() for m in layers[-1:] for p in m.parameters())
    return part / sum(p.numel() for p in net.parameters())


def by_shape(net):
    """All matrices, and what belongs to them."""
    part = 0
    for name, parameter in net.named_parameters():
        owner = net.get_submodule(name.rpartition(".")[0])
        if type(owner) is nn.Linear:
            part += parameter.numel()
    return torch.tensor(part / sum(p.numel() for p in net.parameters()))


def recursive(net):
    def count(module, seen):
        new = {*module.parameters(recurse=False)} - seen
        seen |= new
        inside = sum(count(child, seen) for child in module.children())
        is_linear = isinstance(module, nn.Linear)
        return inside + is_linear * sum(p.numel() for p in new)

    return [count(net, set()) / sum(p.numel() for p in net.parameters())][0]


def layer_by_layer(net, *, total=nn.Module.parameters):
    """Counts a shared weight with each layer that has it."""
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    part = sum(p.numel() for layer in layers for p in layer.parameters())
    return part / sum(p.numel() for p in total(net))


def of_all_modules(net):
    for module in net.modules():
        yield from module.parameters(recurse=False)


def odd(
    rows,
    units=(1000, 1024),
    *,
    kilo=True,
    mega=True,
    area=2,
    operations=1,
    by=0.01,
):
    """The names of the rows that do not follow; mistakes change a part."""
    tables = []
    for unit in units:
        names = []
        for name, c, d, k, side, printed_k, printed_m in rows:
            weights = c * d * k**area
            off = [abs(printed_k / (weights / unit) - 1) if kilo else 0]
            macs = operations * weights * side**2 / 1e6
            off.append(abs(printed_m / macs - 1) if mega else 0)
            if max(off) >= by:
                names.append(name)
        tables.append(names)
    return min(tables, key=len)


def row_by_row(rows):
    """A row may have a K of its own."""
    return [row[0] for row in rows if odd([row])]


def by_weights(rows):
    """K is chosen by the weights alone."""
    unit = min((1000, 1024), key=lambda each: len(odd(rows, [each], mega=False)))
    return odd(rows, [unit])


def unrounded(rows, off):
    """Compares with what is computed, each number by `off`."""
    tables = []
    for unit in (1000, 1024):
        names = []
        for name, c, d, k, side, kilo, mega in rows:
            weights = c * d * k * k
            if off(weights / unit, kilo) or off(weights * side**2 / 1e6, mega):
                names.append(name)
        tables.append(names)
    return min(tables, key=len)


def by_agreement(rows):
    """Counts what agrees; a generator."""
    fits = {1024: [], 1000: []}
    for unit, names in fits.items():
        for name, c, d, k, side, kilo, mega in rows:
            weights = c * d * k * k
            fine = 0.99 < kilo * unit / weights < 1.01
            if fine and 0.99 < mega * 1e6 / (weights * side * side) < 1.01:
                names.append(name)
    agree = fits[1024] if len(fits[1024]) > len(fits[1000]) else fits[1000]
    yield from (name for name, *_ in rows if name not in agree)


def with_tensors(rows):
    names = [row[0] for row in rows]
    c, d, k, side, kilo, mega = torch.tensor([row[1:] for row in rows]).double().T
    weights = c * d * k.square()
    macs_off = (mega * 1e6 / (weights * side.square()) - 1).abs() >= 0.01
    off = torch.stack([(kilo * u / weights - 1).abs() >= 0.01 for u in (1000, 1024)])
    off |= macs_off
    off = off[off.sum(1).argmin()]
    return tuple(name for name, each in zip(names, off, strict=True) if each)


RIGHT_WORDS = ("imprecise", "wrong", "right", "imprecise", "wrong")


def words(**changed):
    """The right ones, but for some, by their number."""
    said = list(RIGHT_WORDS)
    for number, word in changed.items():
        said[int(number[1:]) - 1] = word
    return lambda: said


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "claims.verdicts": [
        (words(n1="right"), "number of channels doubles"),
        (words(n2="right"), "used at every position"),
        (words(n3="imprecise"), "25,088 inputs"),
        (words(n4="right"), "and with 7"),
        (words(n5="right"), "C input and C output"),
        (words(n5="unsure"), "There are three"),
        (lambda: "wrong", "five words"),
        (lambda: RIGHT_WORDS[:4], "five words"),
    ],
    "claims.fc_share": [
        (lambda net: share(net, bias=False), "Biases are parameters"),
        (lambda net: share(net, modules=nn.Module.children), "one level only"),
        (twice, "used twice"),
        (layer_by_layer, "two layers share"),
        (lambda net: layer_by_layer(net, total=of_all_modules), "two layers share"),
        (lambda net: share(net, total=of_all_modules), "two layers share"),
        (last_only, "several such layers"),
        (lambda net: 1 - share(net), "share of all others"),
        (lambda net: share(net, percent=True), "not in percent"),
        (lambda net: share(net) / (1 - share(net)), "not by the others"),
        (lambda net: str(share(net)), "a number is wanted"),
    ],
    "claims.does_not_follow": [
        (lambda rows: odd(rows, [1000]), "Most rows seem wrong"),
        (lambda rows: odd(rows, [1024]), "Most rows seem wrong"),
        (lambda rows: odd(rows, mega=False), "check both"),
        (lambda rows: odd(rows, kilo=False), "check both"),
        (lambda rows: odd(rows, area=1), "Most rows seem wrong"),
        (lambda rows: odd(rows, operations=2), "Most rows seem wrong"),
        (lambda rows: [r[0] for r in rows if r[0] not in odd(rows)], "*not*"),
        (lambda rows: [r for r in rows if r[0] in odd(rows)], "not rows"),
        (lambda rows: odd(rows)[::-1], "that of the table"),
        (lambda rows: odd(rows, by=0.02), "1% or more"),
        (lambda rows: odd(rows, by=0.05), "1% or more"),
        (lambda rows: odd(rows, by=0.001), "less than 1%"),
        (lambda rows: odd(rows, by=0.004), "less than 1%"),
        (lambda rows: unrounded(rows, lambda x, y: round(x) != y), "less than 1%"),
        (lambda rows: unrounded(rows, lambda x, y: abs(x - y) > 0.5), "less than 1%"),
        (lambda rows: odd(rows, [1024, 1000]), "as many with either"),
        (row_by_row, "the same in the whole table"),
        (by_weights, "by whole rows"),
        (lambda rows: None, "end with `return`"),
    ],
}

#: Exercise -> right answers that look different.
RIGHT = {
    "claims.verdicts": [
        lambda: [word.upper() for word in RIGHT_WORDS],
        lambda: iter(RIGHT_WORDS),
        lambda: ["imprecise", "wrong", "right", "imprecise", "wrong"],
    ],
    "claims.fc_share": [share, by_shape, recursive],
    "claims.does_not_follow": [odd, by_agreement, with_tensors],
}
