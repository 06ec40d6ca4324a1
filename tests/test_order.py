"""What lets the tests run in any order (`.ci/run` shuffles them): nothing that one test does reaches another."""

import random

import numpy as np
import torch
from conftest import live_yolo
from hypothesis import settings


def test_models_of_the_helpers_are_copies():
    model, images = live_yolo("yolov3-tiny")
    for value in (*model.state_dict().values(), images):
        value.zero_()
    model.train().names = {}
    again, others = live_yolo("yolov3-tiny")
    assert again is not model and others.any() and not again.training and again.names
    assert any(value.any() for value in again.state_dict().values())


def test_every_test_begins_with_the_same_random_numbers():
    assert random.random() == random.Random(0).random()
    assert np.random.rand() == np.random.RandomState(0).rand()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))
    assert settings.default.derandomize and settings.default.database is None
