"""What autograd saves for backward, and networks that others build: branches, shared
and unused layers, attention, and paths that depend on values.
"""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from course_lib import VGG, AlexNet, GoogLeNet, LeNet, ResNet, summarize

# --- memory ---


def column(summary, what):
    return [getattr(row, what) for row in summary.layers]


def small(*, inplace):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


MAP, POOLED, INDICES, LAST = 8 * 64 * 4, 8 * 16 * 4, 8 * 16 * 8, 4 * 16 * 4


def test_by_hand():
    """Saved are the input of normalization, the output of a ReLU, which in place is
    that of the normalization, 64-bit indices of pooling, the input of layers with
    weights.
    """
    there = summarize(small(inplace=True), (3, 8, 8))
    assert column(there, "activations") == [MAP, MAP, 0, POOLED, LAST, 0, 40]
    assert column(there, "saved_bytes") == [MAP, MAP, 0, POOLED + INDICES, LAST, 0, 0]
    anew = summarize(small(inplace=False), (3, 8, 8))
    assert column(anew, "activations") == [MAP, MAP, MAP, POOLED, LAST, 0, 40]
    assert column(anew, "saved_bytes") == [MAP, 0, MAP, POOLED + INDICES, LAST, 0, 0]


def test_what_is_frozen_saves_less():
    net = small(inplace=True).requires_grad_(False)
    assert summarize(net, (3, 8, 8)).saved_bytes == 0
    net[6].requires_grad_(True)
    frozen = summarize(net, (3, 8, 8))
    assert column(frozen, "saved_bytes") == [0, 0, 0, 0, LAST, 0, 0]
    assert frozen.parameters == frozen.layers[-1].parameters == 650


def saved_for_real(net, x):
    """The bytes that autograd saves on the processor, but parameters and the input."""
    sizes = {}

    def save(tensor):
        memory = tensor.untyped_storage()
        sizes[memory.data_ptr()] = memory.nbytes()
        alive.append(tensor)
        return tensor

    alive = []
    with saved_tensors_hooks(save, lambda tensor: tensor):
        alive.append(net.train()(x))
    given = {
        t.untyped_storage().data_ptr() for t in (x, *net.parameters(), *net.buffers())
    }
    return sum(size for address, size in sizes.items() if address not in given)


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: LeNet("paper"), (1, 32, 32)),
        (lambda: AlexNet("small", lrn=True), (1, 28, 28)),
        (lambda: VGG("small", batch_norm=True), (1, 28, 28)),
        (lambda: GoogLeNet("small", aux=True), (1, 28, 28)),
        (lambda: ResNet("small-20"), (1, 28, 28)),
        (lambda: torchvision.models.densenet121(), (3, 32, 32)),
        (
            lambda: nn.Sequential(
                nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, batch_first=True)
            ),
            (3, 8, 8),
        ),
    ],
)
def test_as_on_the_processor(build, size):
    """What three more images add to two."""
    torch.manual_seed(0)
    net = build()
    more, few = (saved_for_real(net, torch.randn(n, *size)) for n in (5, 2))
    assert more - few == 3 * summarize(net, size).saved_bytes


def test_the_papers_neurons():
    """Krizhevsky et al. 2012 count 650,000 at the convolutions; 15.09 million values
    are output by convolutions, pooling and fully connected layers of VGG-16.
    """
    with torch.device("meta"):
        alexnet = summarize(AlexNet("paper"), (3, 227, 227))
        vgg = summarize(VGG(16), (3, 224, 224))
    sizes = [row.activations // 4 for row in alexnet.layers if row.kind == "Conv2d"]
    assert sizes == [290_400, 186_624, 64_896, 64_896, 43_264]
    assert round(sum(sizes), -4) == 650_000
    kinds = ("Conv2d", "MaxPool2d", "Linear")
    assert sum(row.activations for row in vgg.layers if row.kind in kinds) == 4 * (
        13_547_520 + 1_530_368 + 9_192
    )


# --- foreign networks ---


class Foreign(nn.Module):
    """Branches, layers that are shared or unused, parameters of its own, functions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branches = nn.ModuleList(
            [nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 5, padding=2)]
        )
        self.again = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.scale = nn.Parameter(torch.ones(16, 1, 1))
        self.spare = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2, bias=False))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 10, bias=False)
        self.head.extra = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        x = F.relu(self.stem(x), inplace=True)
        x = torch.cat([branch(x) for branch in self.branches], 1)
        for _ in range(3):
            x = self.again(x)
        x = (self.scale * x).flatten(2).transpose(1, 2)
        return self.head(self.attention(x, x, x)[0].mean(1))


def test_a_foreign_network():
    net = Foreign()
    summary = summarize(net, (3, 6, 6))
    assert [(row.name, row.kind, row.calls) for row in summary.layers] == [
        ("stem", "Conv2d", 1),
        ("branches.0", "Conv2d", 1),
        ("branches.1", "Conv2d", 1),
        ("Foreign", "cat, mul, mean", 1),
        ("again", "Conv2d", 3),
        ("attention", "MultiheadAttention", 1),
        ("head", "Linear", 1),
    ]
    names = [
        "stem",
        "branches.0",
        "branches.1",
        "Foreign",
        "again",
        "attention",
        "head",
    ]
    assert [row.name for row in summary.stages] == names
    # A kernel has a parameter for each product and a bias for each channel; the shared
    # one is used three times and has its parameters once.
    assert summary["again"].parameters == 16 * 9 + 16
    assert summary["again"].macs == 3 * 16 * 9 * 36
    assert summary["again"].field.size == (13, 13)
    assert summary["Foreign"].parameters == 16
    # The projections of three inputs and one output, scores and their use.
    assert summary["attention"].parameters == 4 * (16 * 16 + 16)
    assert summary["attention"].macs == 36 * 4 * 16 * 16 + 2 * 36 * 36 * 16
    assert summary["attention"].field.covers((6, 6))
    assert summary.parameters == sum(column(summary, "parameters")) + 28 + 3
    assert summary.notes == (
        "never used: spare (28 parameters), head.extra (3 parameters)",
    )


def test_shared_between_stages():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared))
    summary = summarize(net, (4,))
    assert [(s.parameters, s.macs, s.calls) for s in summary.stages] == [
        (20, 16, 1),
        (0, 16, 1),
    ]
    assert (summary["0.0"].macs, summary["0.0"].calls) == (32, 2)


def test_training_only():
    summary = summarize(GoogLeNet("small", aux=True), (1, 28, 28))
    auxiliary = [row for row in summary.stages if row.calls == 0]
    assert [row.name for row in auxiliary] == ["aux.inception_3b", "aux.inception_4a"]
    assert all(row.parameters and row.saved_bytes and not row.macs for row in auxiliary)
    assert [row.shape for row in auxiliary] == [(10,), (10,)]
    names = "aux.inception_3b, aux.inception_4a"
    assert summary.notes == (f"in training only, without MACs: {names}",)


def test_training_that_fails():
    """The auxiliary classifiers do not take every size that the network takes."""
    with torch.device("meta"):
        net = GoogLeNet("paper", aux=True)
    summary = summarize(net, (3, 128, 128))
    assert summary.saved_bytes is None
    assert all(row.saved_bytes is None for row in summary.layers)
    assert summary.macs > 0
    assert summary.notes[0].startswith(
        "memory: unknown, in training mode: the auxiliary classifiers cannot take"
    )
    assert summary.table().splitlines()[3].split()[-2] == "?"


def test_a_batch_that_is_not_in_front():
    summary = summarize(nn.TransformerEncoderLayer(8, 2), (3, 8))
    assert summary.saved_bytes is None
    assert summary.notes[0] == (
        "memory: unknown, as what self_attn saves grows faster than the batch"
    )


class Exit(nn.Module):
    """Dark images leave early."""

    def __init__(self):
        super().__init__()
        self.quick, self.slow = (
            nn.Linear(4, 2),
            nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)),
        )
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return self.quick(x) if x.mean() < 0 else self.slow(x)


def test_a_path_that_depends_on_values():
    net = Exit()
    with pytest.raises(
        ValueError,
        match="Exit cannot be traced without values: Exit calls item; give a",
    ):
        summarize(net, (4,))
    bright, dark = summarize(net, torch.ones(4)), summarize(net, -torch.ones(4))
    assert [row.name for row in bright.layers] == ["Exit", "slow.0", "slow.1"]
    assert (bright.macs, dark.macs) == (48, 8)
    assert dark.notes == ("never used: slow (58 parameters)",)
    assert net.seen == 0
    assert bright.saved_bytes == saved_for_real(net, torch.ones(1, 4)) == 8 * 4


@pytest.mark.parametrize("function", [torch.nonzero, torch.unique, lambda x: x[x > 0]])
def test_operations_whose_result_depends_on_values(function):
    class Net(nn.Module):
        def forward(self, x):
            return function(x).float()

    with pytest.raises(ValueError, match="Net cannot be traced without values: Net c"):
        summarize(Net(), (4,))
    assert summarize(Net(), torch.ones(4)).layers[0].calls == 1


def test_products_without_a_formula_are_named():
    class Net(nn.Module):
        def forward(self, x):
            return torch.cdist(x, torch.ones(3, 4))

    notes = summarize(Net(), (5, 4)).notes
    assert notes[0] == "receptive field: unknown after _cdist_forward in Net"
    assert notes[1] == "MACs: not counted for _cdist_forward in Net"


def test_words_instead_of_images():
    net = nn.Sequential(nn.Embedding(10, 6), nn.Flatten(), nn.Linear(42, 3))
    summary = summarize(net, torch.zeros(7, dtype=torch.long))
    assert summary.macs == 126
    assert summary.notes == ()


def test_what_a_network_returns():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.none, self.pair = nn.Module(), nn.LSTM(4, 5, batch_first=True)
            self.none.forward = lambda _x: None

        def forward(self, x):
            self.none(x)
            return {"out": self.pair(x)}

    summary = summarize(Odd(), (7, 4))
    assert summary["pair"].shape == (7, 5)
    assert summary["pair"].macs == 7 * 4 * 5 * (4 + 5)


# --- kernels, loops and batches that are not in front, against real runs ---


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(64, 192)

    def forward(self, x):
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (4, 16)).transpose(1, 2) for t in parts)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.b(torch.relu(self.a(x)))


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))

    def forward(self, x):
        return torch.stack([self.c(image[None])[0] for image in x])


class Queue(nn.Module):
    """As in MoCo: rows that are joined to the batch."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)
        self.register_buffer("queue", torch.zeros(5, 16))

    def forward(self, x):
        y = torch.cat([self.a(x), self.queue])
        return self.b(torch.relu(y))[: len(x)]


class Permuted(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(8, 5)

    def forward(self, x):
        return torch.relu(self.l(x.permute(2, 3, 0, 1))).permute(2, 3, 0, 1)


KERNELS = {
    "attention": (Attention, (64, 64)),
    "attention, odd": (Attention, (197, 64)),
    "autocast": (Mixed, (4, 24, 24)),
    "loop": (Loop, (4, 24, 24)),
    "queue": (Queue, (8,)),
    "batch last": (Permuted, (8, 6, 4)),
    "LSTM": (lambda: nn.LSTM(10, 12, batch_first=True), (7, 10)),
    "LSTM, both ways": (
        lambda: nn.LSTM(10, 6, 2, batch_first=True, bidirectional=True),
        (7, 10),
    ),
    "GRU": (lambda: nn.GRU(10, 12, batch_first=True), (7, 10)),
    "RNN": (lambda: nn.RNN(10, 12, batch_first=True), (7, 10)),
    "heads": (
        lambda: nn.TransformerEncoderLayer(16, 2, 8, 0.0, batch_first=True),
        (9, 16),
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_a_processor(name):
    """What two more images add to two, by autograd's hooks; and the MACs by data."""
    torch.manual_seed(0)
    build, size = KERNELS[name]
    net = build()
    more, few = (saved_for_real(net, torch.randn(n, *size)) for n in (4, 2))
    summary = summarize(net, size)
    assert (more - few) // 2 == summary.saved_bytes
    assert summarize(net, torch.randn(size)).macs == summary.macs > 0


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_products_of_recurrent_layers(kind, gates):
    summary = summarize(kind(10, 12, batch_first=True), (7, 10))
    assert summary.macs == 7 * gates * 12 * (10 + 12)
    name = kind.__name__
    assert summary.notes[-1] == (
        f"memory: as on a CPU; a GPU's kernels save other amounts for {name} in {name}"
    )


class Products(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x: x[0] @ torch.ones(5), 20),
        (lambda x: torch.addmv(torch.ones(4), x[0], torch.ones(5)), 20),
        (lambda x: x.flatten().dot(torch.ones(20)), 20),
        (lambda x: torch.vdot(x.flatten(), torch.ones(20)), 20),
        (lambda x: torch.outer(x[0, 0], torch.ones(3)), None),
        (lambda x: torch.addr(torch.ones(5, 3), x[0, 0], torch.ones(3)), 15),
        (lambda x: torch.addbmm(torch.ones(4, 2), x, torch.ones(1, 5, 2)), 40),
        (
            lambda x: torch.conv_tbc(
                x.transpose(0, 1).contiguous(), torch.ones(3, 5, 2), torch.zeros(2), 1
            ),
            4 * 3 * 5 * 2,
        ),
        (lambda x: F.bilinear(x, x, torch.ones(2, 5, 5)), 4 * (2 * 25 + 2 * 5)),
        (lambda x: torch.einsum("nij,kj->nik", x, torch.ones(3, 5)), 60),
    ],
)
def test_products_that_torchs_counter_leaves_out(function, macs):
    by_size = summarize(Products(function), (4, 5))
    by_data = summarize(Products(function), torch.rand(4, 5))
    assert by_size.macs == by_data.macs == (macs or 0)
    assert by_size.complete
    assert by_data.complete


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cdist(x, x),
        lambda x: torch.linalg.solve(x[..., :4], x[..., 1:]),
        lambda x: torch.fft.rfft(x).abs(),
    ],
)
def test_the_total_is_at_least_what_was_counted(function):
    summary = summarize(Products(function), (4, 5))
    assert not summary.complete
    assert any(note.startswith("MACs: not counted for") for note in summary.notes)
    assert "at least 0" in summary.table()


def test_memory_that_grows_faster_than_the_batch():
    class Similarity(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            y = self.layer(x)
            return (y @ y.mT).exp()

    summary = summarize(Similarity(), (4,))
    assert summary.saved_bytes is None
    assert summary.notes[0] == (
        "memory: unknown, as what Similarity saves grows faster than the batch"
    )


def test_a_module_that_returns_an_object_or_its_parameter():
    class Result:
        def __init__(self, y):
            self.y = y

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.w = nn.Conv2d(3, 4, 3), nn.Parameter(torch.ones(2))

        def forward(self, x):
            return Result(self.conv(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Backbone()

        def forward(self, x):
            return self.backbone(x).y, self.backbone.w

    summary = summarize(Net(), (3, 8, 8))
    assert summary["backbone"].calls == 1
    assert summary["backbone"].shape == (4, 6, 6)
    assert summary.notes == ()


def test_activations_without_computed_weights():
    net = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU()
    )
    assert summarize(net, (3, 8, 8)).activations == 2 * 4 * 36 * 4
