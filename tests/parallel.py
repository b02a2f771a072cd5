"""One step of two processes against one: run by torchrun, in float64.

Prints the largest difference between the gradients of the two processes together and
those of one process with the whole batch: a line for each process, all by the first, as
lines of two processes may be mixed.
"""

import copy

import torch
import torch.nn.functional as F

from course_lib import LeNet, Runtime, fashion_mnist

torch.distributed.init_process_group("gloo")
rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
run_on = Runtime(
    torch.device("cpu"), torch.float64, torch.channels_last, rank, processes
)
torch.manual_seed(0)
net = run_on.host(LeNet("modern").double())
alone = copy.deepcopy(net)
data = fashion_mnist(sample=True).train
for part, model, weight in (
    (run_on.part, run_on.parallel(net), run_on.weight),
    ((0, 1), alone, lambda *_: 1),
):
    pictures = type(data)(data.images[:399], data.labels[:399])
    x, y = next(pictures.batches(133, seed=1, part=part))
    (weight(len(y), 399, 3, 0) * F.cross_entropy(model(x.double()), y)).backward()
difference = max(
    (a.grad - b.grad).abs().max().item()
    for a, b in zip(net.parameters(), alone.parameters(), strict=True)
)
lines = [""] * processes
torch.distributed.all_gather_object(lines, f"{rank}: {len(data)} {difference:.3e}")
if rank == 0:
    print(*lines, sep="\n")
torch.distributed.destroy_process_group()
