"""SSIM and MS-SSIM: what they refuse, and how they grade any type and number of channels."""

import pytest
import torch

from thalweg.losses import MSSSIM, SSIM


def images(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.rand(2, *shape, generator=generator)
    return x.to(dtype), (0.8 * x + 0.2 * noise).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_type_and_number_of_channels_will_do(channels, dtype):
    x, y = images(2, channels, 24, 22, dtype=dtype)
    for loss in (SSIM(reduction="none"), MSSSIM(weights=(0.3, 0.7), reduction="none")):
        value = loss(x, y)
        assert value.dtype == dtype
        assert value.shape == (2,)
        each = [loss(x[:, c : c + 1].double(), y[:, c : c + 1].double()) for c in range(channels)]
        expected = torch.stack(each).mean(0)
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=0.01)


def test_small_images_are_refused_with_weights_that_do():
    x, y = images(1, 1, 32, 40)
    with pytest.raises(ValueError, match=r"at most 2, such as \(0\.1356, 0\.8644\)"):
        MSSSIM()(x, y)
    assert MSSSIM(weights=(0.1356, 0.8644))(x, y).isfinite()
    with pytest.raises(ValueError, match=r"32 x 40 pixels are smaller .* at most 32"):
        MSSSIM(window_size=33)(x, y)
    standard = images(1, 1, 176, 176)
    assert 0 < MSSSIM()(*standard) < 1
    for shape in ((176, 175), (175, 176)):
        with pytest.raises(ValueError, match="weights of at most 4"):
            MSSSIM()(*images(1, 1, *shape))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"data_range": 0.0}, "data_range is 0.0"),
        ({"sigma": -1.0}, "sigma is -1.0"),
        ({"k1": 0.0}, "k1 is 0.0"),
        ({"k2": 0.0}, "k2 is 0.0"),
        ({"window_size": 0}, "window_size is 0"),
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"weights": ()}, "weights are"),
        ({"weights": (0.5, -0.5)}, "weights are"),
    ],
)
def test_settings_out_of_range_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        MSSSIM(**settings)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (torch.ones(12, 12), torch.ones(12, 12), r"shape \(N, C, H, W\)"),
        (torch.ones(1, 3, 12, 12), torch.ones(1, 1, 12, 12), "images of one shape"),
        (torch.ones(1, 1, 12, 12).byte(), torch.ones(1, 1, 12, 12).byte(), "real numbers"),
        (torch.ones(1, 1, 12, 12), torch.ones(1, 1, 12, 12).double(), "of one type"),
    ],
)
def test_what_does_not_fit_is_refused(x, y, says):
    with pytest.raises(ValueError, match=says):
        SSIM()(x, y)


def test_the_larger_its_range_the_less_a_difference_counts():
    x, y = images(1, 1, 16, 16)
    torch.testing.assert_close(SSIM(255)(255 * x, 255 * y), SSIM()(x, y))
    assert SSIM(2.0)(x, y) < SSIM()(x, y)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("build", [SSIM, lambda **x: MSSSIM(weights=(0.3, 0.7), **x)])
def test_images_of_half_precision_are_compared_in_single(build, dtype):
    x, y = images(2, 3, 24, 22, dtype=dtype)
    loss = build(reduction="none")
    assert torch.equal(loss(x, y), loss(x.float(), y.float()).to(dtype))


def test_a_similarity_of_exactly_0_has_no_gradient():
    x = torch.full((1, 1, 1, 1), 1.0, requires_grad=True)
    value = MSSSIM(weights=(0.5,), window_size=1, k1=1.0)(x, torch.full((1, 1, 1, 1), -0.5))
    value.backward()
    assert value == 1
    assert x.grad == 0


def test_a_checkpoint_holds_nothing_of_them():
    assert not SSIM().state_dict()
    assert not MSSSIM().state_dict()
