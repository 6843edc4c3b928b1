"""From folders to shards to crops."""

from __future__ import annotations

import io
import math
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from training import TrainingError, data
from training.data import Member, PhotoSet, decode, find_photos, pack, read_shards, vary_colours
from training.thumbnails import ThumbnailSet

CPU = torch.device("cpu")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(height: int, width: int, blue: int = 0) -> np.ndarray:
    """Each pixel says where it is: red its row, green its column."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.full_like(rows, blue)], axis=2).astype(np.uint8)


def photo_set(*photos: np.ndarray) -> PhotoSet:
    return PhotoSet([str(i) for i in range(len(photos))], photos, device=CPU)


# Folders


def test_splits_come_from_the_table(photo_folder):
    splits = {member.name: member.split for member in find_photos(photo_folder)}
    assert splits == {f"large/{i}.png": s for i, s in enumerate(["train"] * 4 + ["val", "test"])}


def test_the_table_of_the_parent_serves_a_sub_folder(photo_folder):
    assert find_photos(photo_folder / "large") == find_photos(photo_folder)


def test_only_keeps_the_names_that_begin_so(photo_folder):
    names = [member.name for member in find_photos(photo_folder, only=["large/1", "large/4"])]
    assert names == ["large/1.png", "large/4.png"]


def test_without_a_table_all_photos_are_for_training(tmp_path, make_photo):
    PillowImage.fromarray(make_photo(8, 8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    assert find_photos(tmp_path) == [Member(tmp_path / "a.png", "a.png", "train")]


def test_a_photo_without_a_row_is_refused(tmp_path, make_photo):
    (tmp_path / "SOURCES.tsv").write_text("file\tsplit\n")
    PillowImage.fromarray(make_photo(8, 8)).save(tmp_path / "a.png")
    with pytest.raises(TrainingError, match=r"SOURCES.tsv has no row for a.png\. Add one"):
        find_photos(tmp_path)


def test_an_unknown_split_is_refused(tmp_path, make_photo):
    (tmp_path / "SOURCES.tsv").write_text("file\tsplit\na.png\tdev\n")
    PillowImage.fromarray(make_photo(8, 8)).save(tmp_path / "a.png")
    with pytest.raises(TrainingError, match=r"the split 'dev'\. Use one of: train, val, test"):
        find_photos(tmp_path)


def test_a_table_without_its_columns_is_refused(tmp_path, make_photo):
    (tmp_path / "SOURCES.tsv").write_text("name,split\n")
    with pytest.raises(TrainingError, match="needs the columns file and split"):
        find_photos(tmp_path)


def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no such folder"):
        find_photos(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="no picture below this folder"):
        find_photos(tmp_path)


# Shards


def members_of(folder, payloads: dict[str, bytes]) -> list[Member]:
    for name, payload in payloads.items():
        (folder / name).write_bytes(payload)
    return [Member(folder / name, name, "train") for name in payloads]


def test_bytes_travel_unchanged_in_shards_of_at_most_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHARD_BYTES", 61_000)
    chance = np.random.default_rng(0)
    payloads = {f"{i}.webp": chance.bytes(int(chance.integers(1, 30_000))) for i in range(12)}
    shards = pack(members_of(tmp_path, payloads), tmp_path / "out")
    assert len(shards) > 2
    assert [shard.name for shard in shards] == [f"photos-{i:05d}.tar" for i in range(len(shards))]
    assert max(shard.stat().st_size for shard in shards) <= 61_000
    assert dict(read_shards([tmp_path / "out"], "train")) == payloads


def test_the_limit_of_a_shard_is_16_megabytes():
    assert data.SHARD_BYTES == 16_000_000


@pytest.mark.parametrize("size", range(9_000, 9_600, 64))
def test_a_shard_filled_to_the_brim_stays_below_the_limit(tmp_path, monkeypatch, size):
    # tar rounds the end up to 10 KiB: whatever the sizes, the limit holds.
    monkeypatch.setattr(data, "SHARD_BYTES", 40_960)
    shards = pack(members_of(tmp_path, {f"{i}.png": bytes(size) for i in range(5)}), tmp_path / "out")
    assert max(shard.stat().st_size for shard in shards) <= 40_960


def test_a_photo_that_no_shard_can_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHARD_BYTES", 20_000)
    with pytest.raises(TrainingError, match=r"big.png: 30000 bytes are too many for one shard\. Try --webp"):
        pack(members_of(tmp_path, {"big.png": bytes(30_000)}), tmp_path / "out")


def test_a_photo_becomes_webp_only_where_that_is_smaller(tmp_path, make_photo):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    payloads = {}
    for name, quality in (("fine.png", 100), ("coarse.webp", 1)):
        buffer = io.BytesIO()
        PillowImage.fromarray(noise).save(buffer, name.split(".")[1].upper(), quality=quality)
        payloads[name] = buffer.getvalue()
    pack(members_of(tmp_path, payloads), tmp_path / "out", webp_quality=80)
    packed = dict(read_shards([tmp_path / "out"], "train"))
    assert packed["coarse.webp"] == payloads["coarse.webp"]
    assert packed["fine.png"][8:12] == b"WEBP"
    assert len(packed["fine.png"]) < len(payloads["fine.png"])


def test_webp_keeps_the_photo_upright(tmp_path, make_photo):
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    buffer = io.BytesIO()
    PillowImage.fromarray(make_photo(40, 64)).save(buffer, "TIFF", exif=exif)
    pack(members_of(tmp_path, {"a.tif": buffer.getvalue()}), tmp_path / "out", webp_quality=80)
    ((_, payload),) = read_shards([tmp_path / "out"], "train")
    assert decode(payload).shape == decode(buffer.getvalue()).shape == (64, 40, 3)


def test_packing_again_leaves_no_shard_of_before(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHARD_BYTES", 40_000)
    members = members_of(tmp_path, {f"{i}.png": bytes(15_000) for i in range(6)})
    pack(members, tmp_path / "out")
    pack(members[:1], tmp_path / "out")
    pack(members[:1], tmp_path / "out", prefix="others")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["others-00000.tar", "photos-00000.tar"]


def test_packing_leaves_other_packs_alone_whose_names_begin_the_same(tmp_path):
    members = members_of(tmp_path, {"a.png": b"a"})
    for prefix in ("photos-large", "photos-2", "photos"):
        pack(members, tmp_path / "out", prefix=prefix)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["photos-00000.tar", "photos-2-00000.tar", "photos-large-00000.tar"]


def test_a_pack_that_fails_leaves_the_one_of_before(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHARD_BYTES", 40_000)
    members = members_of(tmp_path, {f"{i}.png": bytes(15_000) for i in range(6)} | {"big.png": bytes(50_000)})
    before = pack(members[:3], tmp_path / "out")
    with pytest.raises(TrainingError, match="too many for one shard"):
        pack(members, tmp_path / "out")
    assert sorted((tmp_path / "out").iterdir()) == before
    assert len(list(read_shards([tmp_path / "out"], "train"))) == 3


def test_a_split_holds_its_own_photos_only(shards):
    assert [name for name, _ in read_shards([shards], "val")] == ["large/4.png"]
    assert len(list(read_shards([shards], "train"))) == 4


def test_where_there_is_no_shard_the_way_to_make_one_is_said(tmp_path):
    for path in (tmp_path, tmp_path / "gone.tar"):
        with pytest.raises(TrainingError, match=r"no shard here\. Make some with: python -m training pack"):
            list(read_shards([path], "train"))


def test_a_file_that_is_no_shard_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(TrainingError, match=r"a\.tar: not a shard"):
        list(read_shards([tmp_path], "train"))


# Photos


def test_photos_come_back_as_they_went_in(shards, photo_folder):
    photos = PhotoSet.load([shards], "train", device=CPU)
    assert len(photos) == 4
    assert photos.names[2] == "large/2.png"
    expected = decode((photo_folder / "large/2.png").read_bytes())
    assert torch.equal(photos.photo(2), torch.from_numpy(expected).permute(2, 0, 1))


def test_a_split_without_photos_is_refused(tmp_path, shards):
    pack(members_of(tmp_path, {"a.png": b""}), tmp_path / "out")
    with pytest.raises(TrainingError, match="no photo of the split 'val'"):
        PhotoSet.load([tmp_path / "out"], "val", device=CPU)


@pytest.mark.parametrize("kind", [PhotoSet, ThumbnailSet])
def test_a_broken_photo_is_named(kind, tmp_path):
    pack(members_of(tmp_path, {"bad.png": b"not a picture"}), tmp_path / "out")
    with pytest.raises(TrainingError, match=r"bad\.png: not a picture that can be read"):
        kind.load([tmp_path / "out"], "train", device=CPU)


def test_a_truncated_shard_is_refused(tmp_path, shards):
    whole = next(iter(shards.glob("*.tar"))).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        middle = tar.getmembers()[0].offset_data + 10
    (tmp_path / "cut.tar").write_bytes(whole[:middle])
    with pytest.raises(TrainingError, match=r"cut\.tar: not a shard"):
        list(read_shards([tmp_path], "train"))


# Crops


def test_the_same_rng_draws_the_same_crops(make_photo):
    photos = photo_set(make_photo(40, 50, 0), make_photo(32, 32, 1))
    first = photos.crops(rng(3), batch=5, size=16)
    assert torch.equal(first, photos.crops(rng(3), batch=5, size=16))
    assert not torch.equal(first, photos.crops(rng(4), batch=5, size=16))


def test_crops_are_floats_from_0_to_1():
    white = np.full((16, 16, 3), 255, np.uint8)
    crops = photo_set(white).crops(rng(), batch=2, size=8)
    assert crops.shape == (2, 3, 8, 8)
    assert crops.dtype == torch.float32
    assert torch.equal(crops, torch.ones_like(crops))


def test_a_crop_is_a_window_in_one_of_the_eight_turns():
    photo = torch.from_numpy(ramp(30, 40)).permute(2, 0, 1)
    crops = (photo_set(ramp(30, 40)).crops(rng(), batch=200, size=8) * 255).round().byte()
    seen, corners = set(), set()
    for crop in crops:
        top, left = int(crop[0].min()), int(crop[1].min())
        window = photo[:, top : top + 8, left : left + 8]
        turns = [t for k in range(4) for t in (window.rot90(k, (1, 2)), window.flip(2).rot90(k, (1, 2)))]
        matching = [i for i, turn in enumerate(turns) if torch.equal(turn, crop)]
        assert len(matching) == 1
        seen.add(matching[0])
        corners |= {("top", top), ("left", left)}
    assert len(seen) == 8
    # The first and the last window of each axis are drawn too: 23 and 33 places, 200 draws.
    assert {("top", 0), ("top", 22), ("left", 0), ("left", 32)} <= corners


def test_photos_smaller_than_the_crop_are_never_drawn():
    photos = photo_set(ramp(20, 20, 10), ramp(15, 200, 20), ramp(200, 15, 30), ramp(16, 16, 40))
    blue = (photos.crops(rng(), batch=300, size=16)[:, 2] * 255).round().unique().tolist()
    assert blue == [10.0, 40.0]


def test_a_photo_of_the_crops_size_is_taken_whole():
    crop = photo_set(ramp(16, 16)).crops(rng(), batch=1, size=16)
    assert sorted((crop[0, 0] * 255).round().unique().tolist()) == list(range(16))


def test_all_photos_too_small_is_refused():
    with pytest.raises(TrainingError, match=r"smaller than the crop of 16 px\. Take smaller --patches"):
        photo_set(ramp(15, 40)).crops(rng(), batch=1, size=16)


def test_a_photo_is_drawn_as_often_as_its_area_says():
    photos = photo_set(ramp(20, 20, 1), ramp(60, 20, 2))
    drawn = (photos.crops(rng(), batch=2000, size=4)[:, 2, 0, 0] * 255).round()
    share = float((drawn == 2).double().mean())
    # Three standard errors of a share of 3/4 in 2,000 draws.
    assert abs(share - 0.75) < 3 * math.sqrt(0.75 * 0.25 / 2000)


# Colours


def test_colours_vary_from_picture_to_picture_but_not_with_the_same_rng(make_photo):
    clean = photo_set(make_photo(32, 32)).crops(rng(), batch=1, size=32).expand(8, 3, 32, 32)
    varied = vary_colours(clean, rng(5))
    assert torch.equal(varied, vary_colours(clean, rng(5)))
    assert varied.shape == clean.shape
    assert len({picture.mean().item() for picture in varied}) == 8
    assert varied.min() >= 0
    assert varied.max() <= 1


def test_varying_colours_leaves_torchs_own_chance_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    vary_colours(torch.rand(2, 3, 8, 8, generator=rng()), rng())
    assert torch.equal(torch.rand(3), expected)


def test_without_torchvision_augment_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.transforms", None)
    with pytest.raises(TrainingError, match="--augment needs torchvision"):
        vary_colours(torch.zeros(1, 3, 8, 8), rng())
