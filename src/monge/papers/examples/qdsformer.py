"""QDSFormer: attention matrices U * conj(U) of a unitary U, which are doubly stochastic without normalisation.

The unitary comes from a QR decomposition of the scores, from their Cayley transform, or from a circuit of gates whose
angles are parameters times scores. The circuit of this library is small: here it holds 8 tokens, as in the paper.
"""

import torch

from monge.nn.couplers import QR, Cayley, Circuit

torch.manual_seed(0)
n, width = 8, 4
q, k = torch.randn(2, 1, 1, n, width, dtype=torch.float64)

couplers = {
    "QR": QR(1, width).double(),
    "Cayley": Cayley(1, width).double(),
    "circuit": Circuit(1, width, tokens=n, layers=16, ancilla=2).double(),
}
matrices = {name: n * coupler(q, k).dense()[0, 0] for name, coupler in couplers.items()}

scores = (q @ k.mT)[0, 0] / width**0.5
unitary, _ = torch.linalg.qr(scores + torch.eye(n))  # the shift makes n scores of rank 4 a matrix of full rank
torch.testing.assert_close(matrices["QR"], unitary.square())

for name, matrix in matrices.items():
    error = max((matrix.sum(dim) - 1).abs().max().item() for dim in (0, 1))
    assert matrix.min() >= 0
    assert error < 5e-6, "the distance that the paper reports for its circuit"
    print(f"{name}: sums of rows and columns differ from one by {error:.0e}.")

# What the operators see: QR depends on the order of keys, as Gram-Schmidt does; Cayley treats all tokens alike.
order = torch.randperm(n)
moved = {name: n * coupler(q[..., order, :], k[..., order, :]).dense()[0, 0] for name, coupler in couplers.items()}
torch.testing.assert_close(moved["Cayley"], matrices["Cayley"][order][:, order])
assert (moved["QR"] - matrices["QR"][order][:, order]).abs().max() > 1e-2
