"""Several looks at one picture, and the mean of what they answer."""

from __future__ import annotations

import numpy as np
import pytest

from restore.contract import to_tensor
from restore.ensemble import COUNTS, look_often

PICTURE = np.arange(1, 3 * 5 * 3 + 1, dtype=np.float32).reshape(3, 5, 3) / 50


class Answer:
    """What a picture's parts are put together to."""

    def __init__(self) -> None:
        self.planes: dict[str, np.ndarray] = {}

    def keep(self, core, answers):
        for name, answer in answers.items():
            whole = self.planes.setdefault(name, np.full((answer.shape[1], *PICTURE.shape[:2]), np.nan, np.float32))
            whole[:, core[0], core[1]] = answer[0]


def by_rows(of_pixels):
    """A look that answers row by row with what is made of each row's pixels, (1, 3, 1, W)."""

    def look(pixels, mask, keep, progress):
        for top in range(len(pixels)):
            rows = slice(top, top + 1)
            keep((rows, slice(0, pixels.shape[1])), {"restored": of_pixels(to_tensor(pixels[rows]))})
        if progress:
            progress(1.0)

    return look


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_done_to_each_pixel_alone_is_the_same_however_often_it_is_looked_at(count):
    answer = Answer()
    look_often(by_rows(lambda x: 2 * x), PICTURE, None, answer.keep, count=count)
    np.testing.assert_allclose(answer.planes["restored"], 2 * to_tensor(PICTURE)[0], rtol=1e-6)


@pytest.mark.parametrize(("count", "shares"), [(1, (1, 0)), (2, (0.5, 0.5)), (4, (0.5, 0.5)), (8, (0.25, 0.25))])
def test_each_look_is_another_and_the_answer_their_mean(count, shares):
    seen = []

    def first_column(x):
        seen.append(x)
        return np.where(np.arange(x.shape[3]) == 0, x, 0)

    answer = Answer()
    look_often(by_rows(first_column), PICTURE, None, answer.keep, count=count)
    assert len({x.tobytes() for x in seen if x.shape[3] == 5}) == 3 * min(count, 2)
    assert sum(x.shape[3] == 3 for x in seen) == (20 if count == 8 else 0)
    # Of the looks two in four see the left side first, two the right one; with rows and columns swapped, others.
    middle = answer.planes["restored"][:, 1, [0, -1]] / to_tensor(PICTURE)[0, :, 1, [0, -1]].T
    np.testing.assert_allclose(middle, np.broadcast_to(shares, middle.shape), rtol=1e-6)


def finds_in(looks):
    """A network that finds a mark in these looks, by their number, and darkens it."""
    calls = iter(range(8))

    def look(pixels, mask, keep, progress):
        found = np.full((1, 1, *pixels.shape[:2]), next(calls) in looks, np.float32)
        keep((slice(0, len(pixels)), slice(0, pixels.shape[1])), {"restored": to_tensor(pixels) - found, "mask": found})

    return look


@pytest.mark.parametrize(
    ("looks", "count", "taken"),
    [((), 4, 0), ((2,), 4, 1), ((0, 1, 2, 3), 4, 1), ((5,), 8, 0), ((5, 7), 8, 1), ((), 2, 0), ((1,), 2, 1)],
)
def test_a_mark_that_a_quarter_of_the_looks_find_goes_wholly_and_one_that_fewer_find_stays(looks, count, taken):
    answer = Answer()
    look_often(finds_in(looks), PICTURE, None, answer.keep, count=count)
    np.testing.assert_allclose(answer.planes["restored"], to_tensor(PICTURE)[0] - taken, atol=1e-6)
    assert (answer.planes["mask"] == taken).all()


def test_where_the_looks_differ_the_mask_is_surer_than_their_mean_and_what_is_taken_off_goes_with_it():
    """Of two looks the first finds the left column, the second, which sees it turned, left and middle ones too."""
    calls = iter((1, 3))

    def look(pixels, mask, keep, progress):
        marked = np.zeros((1, 1, *pixels.shape[:2]), np.float32)
        columns = next(calls)
        marked[..., slice(0, 1) if columns == 1 else slice(2, 5)] = 1
        keep(
            (slice(0, len(pixels)), slice(0, pixels.shape[1])), {"restored": to_tensor(pixels) - marked, "mask": marked}
        )

    answer = Answer()
    look_often(look, PICTURE, None, answer.keep, count=2)
    np.testing.assert_allclose(answer.planes["mask"][0], np.broadcast_to([1, 0.75, 0.75, 0, 0], (3, 5)))
    np.testing.assert_allclose(answer.planes["restored"], to_tensor(PICTURE)[0] - answer.planes["mask"], atol=1e-6)


def test_a_users_mask_is_turned_with_the_picture():
    def look(pixels, mask, keep, progress):
        marked = mask[None, None].astype(np.float32)
        keep(
            (slice(0, len(pixels)), slice(0, pixels.shape[1])),
            {"restored": to_tensor(pixels) * (1 - marked), "mask": marked},
        )

    mask = PICTURE[..., 0] > 0.5
    answer = Answer()
    look_often(look, PICTURE, mask, answer.keep, count=8)
    np.testing.assert_array_equal(answer.planes["mask"][0], mask)
    np.testing.assert_allclose(answer.planes["restored"], to_tensor(PICTURE)[0] * ~mask, atol=1e-6)


def test_progress_is_told_of_each_look():
    shares = []
    look_often(by_rows(lambda x: x), PICTURE, None, Answer().keep, count=4, progress=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]
