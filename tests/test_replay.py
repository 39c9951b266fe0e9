"""The replay buffer: what it keeps, what it drives out, what it gives back."""

import json
import random
from collections import Counter
from functools import cache

import pytest
import torch

from minalign.replay import ReplayBuffer, edit_distance

STOP = 9


def offer(buffer, *responses, key="p", temperature=1.0, width=8):
    """Offer (tokens, log-reward) pairs in one call; the prefixes' rewards are 0, 0.1, 0.2, ..., to be recognised."""
    tokens = torch.full((len(responses), width), STOP)
    rewards = torch.zeros(len(responses), width + 1)
    for row, (response, reward) in enumerate(responses):
        tokens[row, : len(response)] = torch.tensor(response, dtype=torch.int64)
        rewards[row, : len(response)] = torch.arange(len(response)) / 10
        rewards[row, len(response)] = reward
    buffer.add(key, tokens, torch.tensor([len(response) for response, _ in responses]), rewards, temperature)


def kept(buffer, key="p"):
    return {response: round(float(rewards[-1]), 4) for response, rewards in buffer.entries[key].items()}


def test_the_worst_is_driven_out_when_the_buffer_is_full():
    buffer = ReplayBuffer(capacity=3, similarity=0)
    offer(buffer, ((1,), 1.0), ((2,), -5.0), ((3,), 3.0))
    offer(buffer, ((4,), -9.0))  # worse than all: not taken
    assert kept(buffer) == {(1,): 1.0, (2,): -5.0, (3,): 3.0}
    offer(buffer, ((5,), -5.0))  # as good as the worst: not taken either
    assert (5,) not in kept(buffer)
    offer(buffer, ((6,), 0.0))
    assert kept(buffer) == {(1,): 1.0, (3,): 3.0, (6,): 0.0} and len(buffer) == 3
    offer(buffer, ((7,), 2.0), ((8,), 2.5))  # two in one call drive out two
    assert kept(buffer) == {(3,): 3.0, (7,): 2.0, (8,): 2.5}


def test_capacity_is_each_prompt_s_own():
    buffer = ReplayBuffer(capacity=2, similarity=0)
    for key in ("a", "b"):
        offer(buffer, *[((n,), float(n)) for n in range(5)], key=key)
    assert len(buffer) == 4 and kept(buffer, "a") == kept(buffer, "b") == {(3,): 3.0, (4,): 4.0}


def test_a_duplicate_is_skipped_whatever_comes_after_its_end():
    buffer = ReplayBuffer(capacity=5)
    offer(buffer, ((1, 2, 3), 1.0))
    offer(buffer, ((1, 2, 3), 7.0))  # the same response has the same reward; the first entry stays
    tokens = torch.tensor([[1, 2, 3, 5, 5]])
    buffer.add("p", tokens, torch.tensor([3]), torch.full((1, 6), 4.0))
    assert kept(buffer) == {(1, 2, 3): 1.0}


@pytest.mark.parametrize("first, second, winner", [(1.0, 2.0, "second"), (2.0, 1.0, "first"), (1.0, 1.0, "first")])
def test_of_two_alike_the_better_stays(first, second, winner):
    buffer = ReplayBuffer(capacity=5, similarity=0.25)
    a, b = (1, 2, 3, 4, 5, 6), (1, 2, 0, 4, 5, 7)  # 2 edits apart, the limit is 0.25 * 12 = 3
    offer(buffer, (a, first))
    offer(buffer, (b, second))
    assert kept(buffer) == ({a: first} if winner == "first" else {b: second})


def test_the_limit_of_likeness_is_strict():
    a = (1, 2, 3, 4)
    for other, alike in (((1, 0, 3, 4), True), ((1, 0, 0, 4), False)):  # 1 and 2 edits; 0.25 * 8 = 2 is no longer alike
        buffer = ReplayBuffer(similarity=0.25)
        offer(buffer, (a, 1.0), (other, 2.0))
        assert len(buffer) == (1 if alike else 2)
    buffer = ReplayBuffer(similarity=0)
    offer(buffer, (a, 1.0), ((1, 0, 3, 4), 2.0))
    assert len(buffer) == 2
    buffer = ReplayBuffer(similarity=0.25)  # single tokens are never alike: one edit, limit 0.5
    offer(buffer, *[((n,), 0.0) for n in range(6)])
    assert len(buffer) == 6


def test_a_full_buffer_replaces_the_one_that_is_alike_and_not_the_worst():
    buffer = ReplayBuffer(capacity=2)
    offer(buffer, ((1, 2, 3, 4, 5, 6), 1.0), ((7, 7, 7, 7, 7, 7), -3.0))
    offer(buffer, ((1, 2, 3, 4, 5, 0), 2.0))
    assert kept(buffer) == {(1, 2, 3, 4, 5, 0): 2.0, (7, 7, 7, 7, 7, 7): -3.0}
    offer(buffer, ((1, 2, 3, 4, 0, 0), 0.0))  # better than the worst, but alike to a better one
    assert kept(buffer) == {(1, 2, 3, 4, 5, 0): 2.0, (7, 7, 7, 7, 7, 7): -3.0}


def test_rewards_are_stored_untempered():
    buffer = ReplayBuffer(capacity=2, similarity=0)
    offer(buffer, ((1, 2), -6.0), temperature=0.5)  # log R / 0.5: untempered it is -3
    offer(buffer, ((3,), -4.0), temperature=1.0)
    assert kept(buffer) == {(1, 2): -3.0, (3,): -4.0}
    offer(buffer, ((4,), -7.0), temperature=0.5)  # -3.5: better than -4, though -7 looks worse
    assert kept(buffer) == {(1, 2): -3.0, (4,): -3.5}
    tokens, _, rewards = buffer.sample("p", 50, random.Random(0), 4, STOP, temperature=0.25)
    long = rewards[(tokens[:, 0] == 1).nonzero()[0, 0]]
    assert long.tolist() == pytest.approx(
        [0.0, 0.2, -12.0, 0.0, 0.0]
    )  # every prefix's is divided anew: 0.1 * 0.5 / 0.25


def test_what_is_stored_does_not_follow_the_caller_s_tensor():
    buffer = ReplayBuffer()
    rewards = torch.tensor([[1.0, 2.0]], requires_grad=True)
    buffer.add("p", torch.tensor([[5]]), torch.tensor([1]), rewards)
    with torch.no_grad():
        rewards.zero_()
    entry = buffer.entries["p"][(5,)]
    assert entry.tolist() == [1.0, 2.0] and not entry.requires_grad


def test_sampling_is_uniform_with_replacement():
    buffer = ReplayBuffer(similarity=0)
    offer(buffer, ((0,), 100.0), ((1,), -100.0), ((2,), 0.0), ((3,), 5.0))
    n = 8000
    tokens, *_ = buffer.sample("p", n, random.Random(1), 2, STOP)
    counts = Counter(tokens[:, 0].tolist())
    assert set(counts) == {0, 1, 2, 3}
    sd = (n * 0.25 * 0.75) ** 0.5
    assert all(abs(count - n / 4) < 4.5 * sd for count in counts.values())
    again, *_ = buffer.sample("p", n, random.Random(1), 2, STOP)
    assert torch.equal(tokens, again)
    with pytest.raises(KeyError):
        buffer.sample("a prompt that was never seen", 1, random.Random(0), 2, STOP)


def test_samples_are_padded_and_their_stop_counts():
    buffer = ReplayBuffer(similarity=0)
    for response in ((4,), (5, 6), (7, 7, 7), ()):
        offer(buffer, (response, -1.0))
    tokens, mask, rewards = buffer.sample("p", 40, random.Random(0), 3, STOP)
    rows = {tuple(t): (m, r) for t, m, r in zip(tokens.tolist(), mask.tolist(), rewards.tolist())}
    T, F = True, False
    assert {t: m for t, (m, _) in rows.items()} == {
        (STOP, STOP, STOP): [T, F, F],
        (4, STOP, STOP): [T, T, F],
        (5, 6, STOP): [T, T, T],
        (7, 7, 7): [T, T, T],
    }  # at the full length there is no room for a stop, and none is needed
    assert tokens.dtype == torch.int64 and mask.dtype == torch.bool and rewards.shape == (40, 4)
    assert rows[(5, 6, STOP)][1] == pytest.approx([0.0, 0.1, -1.0, 0.0])
    assert rows[(7, 7, 7)][1] == pytest.approx([0.0, 0.1, 0.2, -1.0])


def test_pack_and_unpack_keep_everything_and_the_order():
    buffer = ReplayBuffer(capacity=4, similarity=0)
    for key, seed in (("b", 1), ("a", 2), ("c", 3)):
        rng = random.Random(seed)
        offer(
            buffer, *[(tuple(rng.choices(range(9), k=rng.randint(0, 6))), rng.gauss(0, 3)) for _ in range(9)], key=key
        )
    buffer.entries["seen, but empty"] = {}
    tensors, meta = buffer.pack()
    twin = ReplayBuffer(capacity=4, similarity=0)
    twin.entries = {"old": {(1,): torch.zeros(2)}}
    twin.unpack({name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(meta)))
    assert [(key, list(entries)) for key, entries in twin.entries.items()] == [
        (key, list(entries)) for key, entries in buffer.entries.items()
    ]
    for key, entries in buffer.entries.items():
        assert all(torch.equal(rewards, twin.entries[key][response]) for response, rewards in entries.items())
    # The order decides what is drawn, and which of equals is driven out: a resumed run must go on alike.
    for a, b in zip(buffer.sample("a", 20, random.Random(5), 6, STOP), twin.sample("a", 20, random.Random(5), 6, STOP)):
        assert torch.equal(a, b)


def test_an_empty_buffer_can_be_packed():
    tensors, meta = ReplayBuffer().pack()
    twin = ReplayBuffer()
    twin.unpack(tensors, meta)
    assert len(twin) == 0 and twin.entries == {}


def recursive(a, b):
    """The definition of Levenshtein's distance."""

    @cache
    def distance(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return distance(len(a), len(b))


def test_edit_distance_against_its_definition():
    rng = random.Random(0)
    assert edit_distance("kitten", "sitting") == 3 and edit_distance((), ()) == 0 and edit_distance((), (1, 2)) == 2
    for _ in range(400):
        a, b = (tuple(rng.choices(range(3), k=rng.randint(0, 7))) for _ in range(2))
        true = recursive(a, b)
        assert edit_distance(a, b) == edit_distance(b, a) == true
        for limit in (0.5, 1, 1.75, 2, 3, 5.25):  # below the limit exact, else some number that is not below it either
            found = edit_distance(a, b, limit)
            assert found == true if true < limit else limit <= found <= true
