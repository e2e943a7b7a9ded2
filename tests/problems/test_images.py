import shutil

import cloudpickle
import numpy as np
import pytest
import torch
from PIL import Image

from tests.problems.running import qualities, refusal
from thalweg.problems.images import ImageFiles
from thalweg.problems.loading import load_problem


def draw(path, seed, *, bright, size=(20, 16), mode="RGB"):
    """Noise whose upper half is brighter for one class."""
    pixels = np.random.default_rng(seed).integers(0, 100, (size[1], size[0], 3), dtype=np.uint8)
    if bright:
        pixels[: size[1] // 2] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def fill(folder, n=12, **options):
    for label in ("cat", "dog"):
        for i in range(n):
            draw(folder / label / f"{i}.png", i, bright=label == "dog", **options)
    return folder


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "pets")


def test_a_folder_for_each_class(folder):
    problem = load_problem(str(folder))
    assert problem.name == "pets"
    assert "24 colour images at 16 x 16 pixels; 2 classes" in problem.description
    image, label = problem.train[0]
    assert image.shape == (3, 16, 16)
    assert -2 <= image.min() < image.max() <= 2
    assert label == 0
    assert qualities(problem, steps=60)[-1] > 0.9


def test_the_parts_share_no_file(folder):
    problem = load_problem(str(folder))
    files = [set(part.files) for part in (problem.train, problem.validation, problem.test)]
    assert sum(map(len, files)) == len(set.union(*files)) == 24


def test_folders_of_parts(tmp_path):
    for part, n in (("train", 10), ("val", 3), ("test", 4)):
        fill(tmp_path / "pets" / part, n)
    problem = load_problem(str(tmp_path / "pets"))
    assert [len(part) for part in (problem.train, problem.validation, problem.test)] == [20, 6, 8]
    assert all("test" in str(file) for file in problem.test.files)
    shutil.rmtree(tmp_path / "pets" / "val")
    problem = load_problem(str(tmp_path / "pets"))
    assert [len(part) for part in (problem.train, problem.validation, problem.test)] == [16, 4, 8]


def test_classes_may_be_called_like_parts(folder):
    (folder / "cat").rename(folder / "train")
    assert "24 colour images" in load_problem(str(folder)).description


def test_grey_images_have_one_channel(tmp_path):
    problem = load_problem(str(fill(tmp_path / "pets", mode="L", size=(8, 8))))
    assert problem.train[0][0].shape == (1, 8, 8)
    assert "grey" in problem.description


def test_sixteen_bits_are_scaled(tmp_path):
    file = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 32896, dtype=np.uint16)).save(file)
    images = ImageFiles([file], torch.tensor([0]), 8, grey=True)
    assert images[0][0].unique().item() == pytest.approx((128 / 255 - 0.5) * 4, abs=1e-6)


def test_many_sizes_become_one_within_bounds(tmp_path):
    folder = fill(tmp_path / "pets", size=(300, 200))
    draw(folder / "cat" / "odd.jpg", 0, bright=False, size=(30, 500))
    problem = load_problem(str(folder))
    assert "at 64 x 64 pixels" in problem.description
    assert {tuple(problem.train[i][0].shape) for i in range(len(problem.train))} == {(3, 64, 64)}


def test_turned_photographs_are_set_upright(tmp_path):
    file = tmp_path / "turned.jpg"
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(file, exif=exif)
    image, _ = ImageFiles([file], torch.tensor([0]), 16, grey=False)[0]
    assert image[:, :4].mean() < 0 < image[:, -4:].mean()


def test_files_are_read_lazily_and_once(folder, monkeypatch):
    problem = load_problem(str(folder))
    reads = []
    read = ImageFiles._pixels
    monkeypatch.setattr(
        ImageFiles, "_pixels", lambda self, file: reads.append(file) or read(self, file)
    )
    first, again = problem.train[0][0], problem.train[0][0]
    assert torch.equal(first, again)
    assert len(reads) == 1
    assert len(cloudpickle.dumps(problem)) < 20_000


def test_the_source_changes_with_the_contents(folder):
    first = load_problem(str(folder)).source
    assert load_problem(str(folder)).source == first
    draw(folder / "dog" / "11.png", 99, bright=True)
    second = load_problem(str(folder)).source
    assert second != first
    (folder / "dog" / "11.png").rename(folder / "dog" / "12.png")
    assert load_problem(str(folder)).source != second


def test_hidden_files_are_passed_over(folder):
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "cat" / "Thumbs.db").write_bytes(b"")
    assert "24 colour images" in load_problem(str(folder)).description


def test_an_empty_folder_is_refused(tmp_path):
    assert "is empty; put the images of each class into a folder" in refusal(str(tmp_path))


def test_an_empty_class_is_refused(folder):
    (folder / "cow").mkdir()
    said = refusal(str(folder))
    assert "cow holds no images; fill or remove it" in said


def test_files_outside_class_folders_are_refused(folder):
    (folder / "notes.txt").write_text("")
    said = refusal(str(folder))
    assert "notes.txt lies in no folder of a class" in said
    assert "or remove it" in said


def test_files_beside_parts_are_refused(tmp_path):
    fill(tmp_path / "pets" / "train")
    (tmp_path / "pets" / "labels.csv").write_text("")
    assert "labels.csv lies beside the folders of parts; move it away" in refusal(
        str(tmp_path / "pets")
    )


@pytest.mark.parametrize("damage", [b"", b"no image", "half"])
def test_an_unreadable_image_is_named(damage, folder):
    file = folder / "dog" / "3.png"
    file.write_bytes(file.read_bytes()[:300] if damage == "half" else damage)
    said = refusal(str(folder))
    assert str(file.relative_to(folder)) in said
    assert "repair or remove it" in said


def test_one_class_only_is_refused(folder):
    shutil.rmtree(folder / "dog")
    said = refusal(str(folder))
    assert "holds one class only, 'cat'; give samples of at least two" in said


def test_a_class_that_is_only_tested_is_refused(tmp_path):
    fill(tmp_path / "pets" / "train")
    fill(tmp_path / "pets" / "test")
    draw(tmp_path / "pets" / "test" / "cow" / "1.png", 0, bright=False)
    assert "class 'cow' of the folder pets has no training samples" in refusal(
        str(tmp_path / "pets")
    )


def test_too_few_images_are_refused(tmp_path):
    assert "give it at least 3" in refusal(str(fill(tmp_path / "few", 2)))
    assert "12 samples are too few" in refusal(str(fill(tmp_path / "pets", 6)))


def test_folders_take_no_options(folder):
    assert "leave target out" in refusal(str(folder), target="y")
    assert "leave task out" in refusal(str(folder), task="classification")
