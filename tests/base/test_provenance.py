"""Where figures come from: the commit of a checkout, else the version; machine and threads."""

import subprocess

import torch

import casc_det
from casc_det.base import provenance as p


def test_figures_say_schema_commit_machine_and_threads():
    made = p.provenance("figures 1")
    assert made["schema"] == "figures 1" and made["threads"] == torch.get_num_threads()
    assert p.processor() in made["machine"] and made["commit"] == p.commit()


def test_commit_is_that_of_the_checkout_and_the_version_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(p, "CHECKOUT", tmp_path)
    assert p.commit.__wrapped__() == casc_det.__version__
    words = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path))
    subprocess.run((*words, "init", "-q"), check=True)
    assert p.commit.__wrapped__() == casc_det.__version__  # there is no commit yet
    (tmp_path / "file").write_text("1")
    for verb in (("add", "file"), ("commit", "-qm", "first"), ("tag", "-am", "release", "v9")):
        subprocess.run((*words, *verb), check=True)
    found = subprocess.run((*words, "rev-parse", "HEAD"), capture_output=True, text=True, check=True)
    assert p.commit.__wrapped__() == found.stdout[:12]
    (tmp_path / "file").write_text("2")
    assert p.commit.__wrapped__() == f"{found.stdout[:12]}-dirty"
