"""Colour differences as in the published table, and how colourful a picture is, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.color_metrics import ciede2000, colourfulness

#: Sharma, Wu and Dalal 2005, table 1: two CIELAB colours and their difference, to four decimals.
SHARMA = """
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""
PAIRS = np.array([line.split() for line in SHARMA.split("\n") if line], np.float64)


# 0.00005 is half of the table's last digit.
@pytest.mark.parametrize("row", PAIRS, ids=[f"pair-{number}" for number in range(1, len(PAIRS) + 1)])
def test_a_difference_is_the_published_one(row):
    assert float(ciede2000(row[:3], row[3:6])) == pytest.approx(row[6], abs=5.1e-5)


def test_a_difference_is_the_same_both_ways():
    np.testing.assert_allclose(
        ciede2000(PAIRS[:, :3], PAIRS[:, 3:6]), ciede2000(PAIRS[:, 3:6], PAIRS[:, :3]), rtol=1e-9
    )


def test_a_picture_against_one_colour_gives_a_map():
    lab = np.zeros((2, 5, 3))
    assert np.array_equal(ciede2000(lab, lab[0, 0]), np.zeros((2, 5)))


def test_grey_has_no_colour():
    assert colourfulness(np.full((4, 4, 3), 128, np.uint8)) == 0


def test_half_red_half_green_by_hand():
    # R - G is 255 or -255: deviation 255, mean 0. (R + G) / 2 - B is 127.5 everywhere: 0.3 of it is 38.25.
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, :, 0] = picture[1, :, 1] = 255
    assert colourfulness(picture) == pytest.approx(255 + 38.25)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 65535), (np.float32, 1)])
def test_colourfulness_is_on_one_scale_for_all_types(dtype, top):
    picture = np.zeros((2, 2, 3), dtype)
    picture[0, :, 0] = picture[1, :, 1] = top
    assert colourfulness(picture) == pytest.approx(255 + 38.25)
