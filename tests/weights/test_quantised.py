"""int8 weights come back within half a step of each channel's scale, and damaged ones are told by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from restore_cli.weights.quantised import SCALES, restored, stored


@pytest.fixture
def numbers() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    magnitudes = torch.tensor([1e-30, 1e-6, 0.1, 3.0, 1e6]).view(-1, 1, 1, 1)
    return {
        "wide.weight": magnitudes * torch.randn((5, 4, 3, 3), generator=generator),
        "also.weight": torch.randn((7, 16), generator=generator),
        "narrow.weight": torch.randn((6, 2), generator=generator),
        "bias": torch.randn(7, generator=generator),
        "table": torch.arange(9),
    }


def test_a_weight_comes_back_within_half_a_step_of_its_channels_range(numbers: dict[str, Tensor]):
    back = restored(stored(numbers, "int8"))
    assert back.keys() == numbers.keys()
    for name in ("wide.weight", "also.weight"):
        step = numbers[name].flatten(1).abs().amax(1) / 127
        apart = (back[name] - numbers[name]).flatten(1).abs().amax(1)
        assert (apart <= 0.51 * step).all()  # scales are rounded up by at most 1 in 128


def test_what_has_few_numbers_a_channel_is_kept_in_half_precision_and_tables_as_they_are(numbers: dict[str, Tensor]):
    kept = stored(numbers, "int8")
    assert {name: tensor.dtype for name, tensor in kept.items()} == {
        "wide.weight": torch.int8,
        "also.weight": torch.int8,
        "narrow.weight": torch.float16,
        "bias": torch.float16,
        "table": torch.int64,
        SCALES: torch.bfloat16,
    }
    assert torch.equal(restored(kept)["bias"], numbers["bias"].half())


def test_a_channel_of_zeros_stays_zero():
    numbers = {"weight": torch.zeros(2, 9)}
    assert torch.equal(restored(stored(numbers, "int8"))["weight"], numbers["weight"])


def test_a_number_beyond_half_precision_is_named():
    with pytest.raises(ValueError, match="bias holds numbers that float16 cannot: 100000"):
        stored({"bias": torch.tensor([1e5])}, "float16")


@pytest.mark.parametrize("fault", ["absent", "too few", "of another dtype", "a scalar"])
def test_scales_that_do_not_fit_are_refused(numbers: dict[str, Tensor], fault: str):
    kept = stored(numbers, "int8")
    if fault == "absent":
        del kept[SCALES]
    elif fault == "too few":
        kept[SCALES] = kept[SCALES][1:]
    elif fault == "of another dtype":
        kept[SCALES] = kept[SCALES].float()
    else:
        kept["wide.weight"] = torch.tensor(1, dtype=torch.int8)
    with pytest.raises(ValueError, match=r"without int8_scales"):
        restored(kept)
