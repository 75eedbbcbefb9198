"""The accuracy of a client's own update over λ, in other styles: the restyling, and what is counted."""

import dataclasses

import pytest
import torch

from sap.errors import SapError
from sap.io import seed_of
from sap.measure import style
from sap.measure.curve import DRAWS, accuracy_curve
from sap.measure.style import restyled
from sap.scales import SCALES
from tests.measure.test_statistics import make_update

LUMA = torch.tensor([0.299, 0.587, 0.114])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(*colour, n=400, side=16):
    return torch.tensor(colour, dtype=torch.uint8).expand(n, side, side, 3).contiguous()


def noisy(n, side=16):
    return torch.randint(0, 256, (n, side, side, 3), generator=seeded(3), dtype=torch.uint8)


@pytest.fixture
def only(monkeypatch):
    """Restyling by the named strengths alone; inversion, greyscale and blur, which flat images do not show, stay."""

    def keep(*names):
        for name in {"GAIN", "BIAS", "NOISE"} - set(names):
            monkeypatch.setattr(style, name, 0.0)

    return keep


def test_styles_are_those_of_the_generator_and_the_images_stay():
    images = noisy(6)
    before = images.clone()
    first, again, other = (restyled(images, seeded(seed)) for seed in (0, 0, 1))
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


def test_half_of_the_images_are_inverted_and_half_are_grey_each_on_its_own(only):
    only()
    colour = torch.tensor([200.0, 40.0, 90.0])
    found = restyled(flat(200, 40, 90), seeded())[:, 3, 5].float()
    wanted = {"plain": colour, "inverted": 255 - colour}
    wanted |= {f"{name} grey": (LUMA * each).sum().expand(3) for name, each in wanted.items()}
    shares = {name: float(((found - each).abs() < 1).all(1).float().mean()) for name, each in wanted.items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0.18 < share < 0.32 for share in shares.values()), shares


@pytest.mark.parametrize(("name", "low", "high"), [("GAIN", 50, 150), ("BIAS", 100 - 76.5, 100 + 76.5)])
def test_gain_and_bias_are_drawn_for_each_channel_within_their_bounds(only, name, low, high):
    only(name)
    found = restyled(flat(100, 100, 100), seeded())[:, 3, 5].float()
    colours = found[(found.amax(1) - found.amin(1)) > 1]  # the others are grey
    assert 0.4 < len(colours) / len(found) < 0.6
    straight = torch.where((colours >= low - 1) & (colours <= high + 1), colours, 255 - colours)
    assert bool(((straight >= low - 1) & (straight <= high + 1)).all())
    assert float(colours.std()) > 15
    assert float((colours[:, 0] - colours[:, 1]).abs().mean()) > 10


def test_noise_has_another_strength_in_each_image(only):
    only("NOISE")
    spread = (restyled(flat(128, 128, 128), seeded()).float() / 255).flatten(1).std(1)
    assert float(spread.min()) < 0.01
    assert 0.09 < float(spread.max()) < 0.11
    assert float(spread.mean()) == pytest.approx(0.05, abs=0.01)


def test_blur_mixes_an_image_with_the_mean_of_its_neighbours(only):
    only()
    image = torch.zeros(300, 16, 16, 3, dtype=torch.uint8)
    image[:, 8, 8] = 255
    found = restyled(image, seeded())[..., 0].float()
    found = torch.where(found[:, :1, :1] > 127, 255 - found, found)
    centre, beside, beyond = found[:, 8, 8], found[:, 7, 8], found[:, 6, 8]
    assert float(beyond.max()) == 0
    torch.testing.assert_close(centre + 8 * beside, torch.full((300,), 255.0), atol=5, rtol=0)
    strength = 9 * beside / 255
    assert float(strength.min()) < 0.05
    assert float(strength.max()) > 0.95
    wide = torch.zeros(50, 64, 64, 3, dtype=torch.uint8)
    wide[:, 32, 32] = 255
    found = restyled(wide, seeded())[..., 0].float()
    assert float((found[:, 30, 32] - found[:, 0, 0]).abs().max()) > 0  # two pixels of 64


@pytest.fixture
def measured(tiny_clip):
    tiny_clip.model.double()
    update, images = make_update(tiny_clip.model, scale=1.0), noisy(7)
    with torch.no_grad():
        texts = tiny_clip.image_features(tiny_clip.normalise(noisy(9)[6:]).double())
    backbone = dataclasses.replace(tiny_clip)
    backbone.normalise = lambda shown: type(tiny_clip).normalise(tiny_clip, shown).double()

    def run(labels, seed=0, batch_size=3, scale=1.0):
        found = accuracy_curve(backbone, update.scaled(scale), "x", seed, images, labels, texts, batch_size)
        return found["curve/accuracy"]

    return run, backbone, update, images, texts


def test_a_curve_is_the_share_of_restyled_images_that_each_scaled_update_has_right(measured):
    run, backbone, update, images, texts = measured
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    rng, wanted = seeded(seed_of("style", 5)), []
    styles = [backbone.normalise(restyled(images, rng)) for _ in range(DRAWS)]
    for scale in SCALES:
        with torch.no_grad(), update.scaled(scale).applied(backbone.model):
            right = [(backbone.image_features(each) @ texts.T).argmax(1) == labels for each in styles]
        wanted.append(torch.stack(right).double().mean())
    found = run(labels, seed=5)
    assert (found.dtype, found.shape) == (torch.float32, (len(SCALES),))
    torch.testing.assert_close(found.double(), torch.stack(wanted), atol=1e-7, rtol=0)
    assert len(set(found.tolist())) > 1
    torch.testing.assert_close(run(labels, seed=5, batch_size=32), found)
    assert not torch.equal(run(labels, seed=6), found)


def test_without_an_update_the_curve_is_flat_and_the_model_is_as_before(measured):
    run, backbone, _, images, _ = measured
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    with torch.no_grad():
        before = backbone.image_features(backbone.normalise(images))
        flat_curve, curve = run(labels, scale=0.0), run(labels)
        torch.testing.assert_close(backbone.image_features(backbone.normalise(images)), before, atol=0, rtol=0)
    assert len(set(flat_curve.tolist())) == 1
    assert flat_curve[0] == curve[0]


def test_an_update_that_breaks_the_model_is_refused_with_the_scale(measured):
    run, *_ = measured
    with pytest.raises(SapError, match=r"x: features at λ = 0\.25 are not finite, the update is too large to be used"):
        run(torch.zeros(7, dtype=torch.int64), scale=1e200)
