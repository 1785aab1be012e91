from __future__ import annotations

import pytest

from monge.testing import check_coupling, couplings

EXAMPLES = [
    *couplings(),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_representation_answers_as_its_matrix(example):
    check_coupling(example.coupling)
