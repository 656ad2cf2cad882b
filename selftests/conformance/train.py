# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Trains a small network with tinygrad and prints each step's loss, exactly.

usage: train.py mlp|lenet STEPS

Made for tinygrad 0.9.2 as well as for later versions.
"""
import os
import random
import sys

# Later versions ask for the variable, 0.9.2 for the attribute.
os.environ["TRAINING"] = "1"
from tinygrad import Tensor, TinyJit, nn

SIDE, CLASSES = 28, 10


class Mlp:
    BATCH, RATE = 32, 0.5

    def __init__(self):
        self.first = nn.Linear(SIDE * SIDE, 128)
        self.second = nn.Linear(128, CLASSES)

    def __call__(self, x):
        return self.second(self.first(x.reshape(-1, SIDE * SIDE)).relu())


class LeNet:
    BATCH, RATE = 16, 0.5

    def __init__(self):
        self.first = nn.Conv2d(1, 6, 5, padding=2)
        self.second = nn.Conv2d(6, 16, 5)
        self.third = nn.Linear(16 * 5 * 5, 120)
        self.fourth = nn.Linear(120, 84)
        self.fifth = nn.Linear(84, CLASSES)

    def __call__(self, x):
        x = self.first(x).relu().avg_pool2d()
        x = self.second(x).relu().avg_pool2d().flatten(1)
        return self.fifth(self.fourth(self.third(x).relu()).relu())


def images(count):
    """A bright square on noise; where it is tells the class."""
    chance = random.Random(1)
    pixels, labels = [], []
    for number in range(count):
        label = number % CLASSES
        top, left = 5 * (label // 5) + 4, 5 * (label % 5) + 1
        for y in range(SIDE):
            for x in range(SIDE):
                inside = top <= y < top + 5 and left <= x < left + 5
                pixels.append(chance.random() / 4 + (0.75 if inside else 0.0))
        labels.append(label)
    return Tensor(pixels).reshape(count, 1, SIDE, SIDE), Tensor(labels)


def main():
    network, steps = {"mlp": Mlp, "lenet": LeNet}[sys.argv[1]], int(sys.argv[2])
    Tensor.manual_seed(1)
    Tensor.training = True
    model = network()
    optimizer = nn.optim.SGD(nn.state.get_parameters(model), lr=network.RATE)
    x, y = images(network.BATCH)

    @TinyJit
    def step(x, y):
        optimizer.zero_grad()
        loss = model(x).sparse_categorical_crossentropy(y)
        loss.backward()
        optimizer.step()
        return loss.realize()

    losses = []
    for number in range(steps):
        losses.append(step(x.realize(), y.realize()).item())
        print(f"step {number}: loss {losses[-1]!r}")
    if any(later >= earlier for earlier, later in zip(losses, losses[1:])):
        sys.exit("the loss did not fall")


main()
