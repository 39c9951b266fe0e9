"""The GFlowNet replay buffer: the best distinct responses found for each prompt (Hu et al. 2023, as in its code).

A buffer holds, for each prompt, at most `capacity` responses, ranked by the log-reward of the finished response. A
response that is already there is skipped; one that is close in edit distance to a stored one replaces it if its
reward is higher and is dropped otherwise. Log-rewards are stored untempered (times the reward temperature), so that a
schedule of temperatures can divide them anew.
"""

import random

import torch
from torch import Tensor


def edit_distance(a: tuple, b: tuple, limit: float = float("inf")) -> int:
    """Return the Levenshtein distance of two token sequences, or, sooner, any number >= limit if it is >= limit."""
    if abs(len(a) - len(b)) >= limit:
        return abs(len(a) - len(b))
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
        if min(row) >= limit:
            return min(row)
    return row[-1]


class ReplayBuffer:
    """{prompt key: its best responses}. A response is the tuple of its token ids without the stop."""

    def __init__(self, capacity: int = 50, similarity: float = 0.25, margin: float = float("inf")):
        """Start empty.

        capacity: responses a prompt. similarity: two responses of n and m tokens are alike if their edit distance is
        below similarity * (n + m); 0 = only identical ones are. margin: responses whose log-reward is further than
        this below the prompt's best are not kept, nats.
        """
        self.capacity, self.similarity, self.margin = capacity, similarity, margin
        # prompt key -> {response: untempered log-rewards of all its prefixes, (length + 1,)}
        self.entries: dict[str, dict[tuple, Tensor]] = {}

    def __len__(self) -> int:
        return sum(len(entries) for entries in self.entries.values())

    def add(self, key: str, tokens: Tensor, lengths: Tensor, log_reward: Tensor, temperature: float = 1.0) -> None:
        """Offer responses to a prompt's buffer.

        tokens: (B, R) int64. lengths: (B,) tokens before the stop. log_reward: (B, S) of every prefix, at reward
        temperature `temperature`; entry lengths[i] is the finished response's, by which it is ranked.
        """
        entries = self.entries.setdefault(key, {})
        for ids, length, rewards in zip(tokens.tolist(), lengths.tolist(), log_reward.detach().cpu() * temperature):
            response, rewards = tuple(ids[:length]), rewards[: length + 1].clone()
            if response in entries:
                continue
            rival = self._alike(response, entries)
            if rival is None and len(entries) >= self.capacity:
                rival = min(entries, key=lambda other: float(entries[other][-1]))
            if rival is not None:
                if rewards[-1] <= entries[rival][-1]:
                    continue
                del entries[rival]
            entries[response] = rewards
        if self.margin < float("inf") and entries:
            least = max(float(rewards[-1]) for rewards in entries.values()) - self.margin
            self.entries[key] = {response: rewards for response, rewards in entries.items() if rewards[-1] >= least}

    def _alike(self, response: tuple, entries: dict) -> tuple | None:
        """Return the first stored response that is close in edit distance, or None."""
        for other in entries if self.similarity else ():
            limit = self.similarity * (len(response) + len(other))
            if limit > 1 and edit_distance(response, other, limit) < limit:  # different responses are at least 1 apart
                return other
        return None

    def sample(
        self, key: str, n: int, rng: random.Random, max_len: int, stop: int, temperature: float = 1.0,
        ends: tuple[int, ...] = (), ends_after: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Draw n stored responses uniformly with replacement.

        ends, ends_after: see `StopRule`; no stop follows a response that ends with one of them.
        Returns tokens (n, max_len) padded with the stop, mask (n, max_len) with the stop inside, and log_reward
        (n, max_len + 1) at `temperature`, 0 beyond a response's end; all on the CPU. Raises KeyError where the prompt
        has no entry yet.
        """
        drawn = rng.choices(list(self.entries[key].items()), k=n)
        tokens = torch.full((n, max_len), stop)
        log_reward = torch.zeros(n, max_len + 1)
        for i, (response, rewards) in enumerate(drawn):
            tokens[i, : len(response)] = torch.tensor(response, dtype=torch.int64)
            log_reward[i, : len(rewards)] = rewards / temperature
        over = [len(r) >= max(ends_after, 1) and r[-1] in ends for r, _ in drawn]
        lengths = torch.tensor([len(r) + (not end) for (r, _), end in zip(drawn, over)])  # with the stop
        mask = torch.arange(max_len) < lengths[:, None]
        return tokens, mask, log_reward

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """Return the buffer as tensors and JSON for a checkpoint; `unpack` undoes it, order included."""
        rows = [(response, rewards) for entries in self.entries.values() for response, rewards in entries.items()]
        tensors = {
            "replay.tokens": torch.tensor([token for response, _ in rows for token in response], dtype=torch.int64),
            "replay.rewards": torch.cat([rewards for _, rewards in rows]) if rows else torch.zeros(0),
        }
        return tensors, {key: [len(response) for response in entries] for key, entries in self.entries.items()}

    def unpack(self, tensors: dict[str, Tensor], meta: dict) -> None:
        """Restore what `pack` returned."""
        tokens, rewards, i, j = tensors["replay.tokens"].tolist(), tensors["replay.rewards"], 0, 0
        self.entries = {}
        for key, lengths in meta.items():
            self.entries[key] = {}
            for length in lengths:
                self.entries[key][tuple(tokens[i : i + length])] = rewards[j : j + length + 1].clone()
                i, j = i + length, j + length + 1
