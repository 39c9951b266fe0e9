"""The figures of reward models and of the comparison: drawn from their files, in their colours, not blank."""

import json

import pytest

from minalign import plot

image = pytest.importorskip("matplotlib.image")


def pixels_of(path):
    """Return the picture as rows of (r, g, b) in 0..255."""
    assert path.stat().st_size > 5_000
    return (image.imread(path)[..., :3] * 255).round().astype("u1").reshape(-1, 3)


def share(pixels, name):
    """Return the share of a picture that has one of the colours of `plot.COLORS`."""
    color = [int(plot.COLORS[name][i : i + 2], 16) for i in (1, 3, 5)]
    return (pixels == color).all(1).mean()


def check(path, *colors):
    pixels = pixels_of(path)
    assert 0.01 < (pixels != 255).any(1).mean() < 0.9  # neither blank nor black
    for name in colors:
        assert share(pixels, name) > 1e-5, name
    return pixels


def predictions(*, good):
    """Return rows of a pair, a best of three and a ranking, of a reward model that is right or wrong."""
    sign = 1 if good else -1
    pair = {"kind": "pair", "best": 1, "rewards": [-sign * 0.5, sign * 1.0], "predicted": [0.18, 0.82],
            "observed": [not good, good]}  # fmt: skip
    best = {"kind": "best", "best": 0, "rewards": [sign * 2.0, 0.0, -0.3], "predicted": [0.81, 0.11, 0.08],
            "observed": [good, not good, False]}  # fmt: skip
    ranking = {"kind": "ranking", "best": None, "rewards": [sign * 0.7, 0.1], "predicted": [0.65, 0.35],
               "observed": [good, not good]}  # fmt: skip
    return [row | {"prompt": "p", "responses": ["a", "b"]} for row in (pair, best, ranking)] * 5


def write(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_preferences(tmp_path):
    write(tmp_path, "predictions.jsonl", predictions(good=True))
    path = plot.preferences(tmp_path)
    assert path == tmp_path / "preferences.png"
    right = check(path, "base", "policy")
    write(tmp_path, "predictions.jsonl", predictions(good=False))
    assert (check(plot.preferences(tmp_path), "base", "policy") != right).any()  # the numbers are in the picture


def test_preferences_of_one_record(tmp_path):
    """Every bin then holds a share of 0 or 1: its interval has an end at the point itself."""
    write(tmp_path, "predictions.jsonl", predictions(good=True)[:1])
    check(plot.preferences(tmp_path), "policy")


ROW = {"kl_uniform": 0.5, "valid_mass": 0.9, "tv_optimum": 0.1}


def test_compare_distributions(tmp_path):
    """Strings that are numbers stand in the order of their numbers, whatever order they are listed in."""
    up, even = [0.001, 0.009, 0.09, 0.8], [0.25] * 4

    def draw(texts, policy):
        data = {"texts": texts, "distributions": {"base": [even, None], "dpo": [policy, even]},
                "rows": {"base": ROW, "dpo": ROW}}  # fmt: skip
        (tmp_path / "compare.json").write_text(json.dumps(data))
        path = plot.compare_distributions(tmp_path)
        assert path == tmp_path / "compare.png"
        return check(path, "base", "dpo", "target")

    sorted_ = draw(["7", "8", "9", "10"], up)
    assert (draw(["10", "7", "8", "9"], [up[3], *up[:3]]) == sorted_).all()
    assert (draw(["a", "b", "c", "d"], [up[3], *up[:3]]) != sorted_).any()  # words stand as they are listed


def test_frontier(tmp_path):
    points = [{"method": "best of n (analytic)", "kl": 0.2 * n, "gold": 0.1 * n} for n in range(6)]
    points += [{"method": "PPO", "kl": kl, "gold": gold} for kl, gold in ((2.0, 0.5), (0.5, 0.2), (1.0, 0.4))]

    def draw(points):
        (tmp_path / "compare.json").write_text(json.dumps({"points": points}))
        path = plot.frontier(tmp_path)
        assert path == tmp_path / "frontier.png"
        return check(path, "bon")

    # A curve is drawn by rising KL, in whatever order its points come.
    assert (draw(points) == draw(points[5::-1] + points[:5:-1])).all()
    assert (draw(points) != draw(points[:6])).any()
