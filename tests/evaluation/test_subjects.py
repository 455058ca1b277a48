"""What a name on the command line means, and when a network need not run again."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_toys import outlined

from defectctl.checkpoints.weights import read_contract, rewrite_contract
from defectctl.errors import InputError
from defectctl.evaluation.asked import Asked
from defectctl.evaluation.comparison import compare_scored
from defectctl.evaluation.evaluate import Hardware, evaluate, evaluate_masks
from defectctl.evaluation.subjects import earlier_evaluation, refuse_choice, scores_of

CPU, QUICK = Hardware("cpu", "float32", threads=1), Asked(rounds=100)


@pytest.fixture
def two(steel, networks, tmp_path: Path) -> list[str]:
    """Two models: one moves every defect, the other finds all."""
    first = networks.write(tmp_path / "a" / "model.safetensors", lambda name: outlined(steel.guess(name)))
    second = networks.write(
        tmp_path / "b" / "model.safetensors", lambda name: outlined(steel.truth[name] % 255), weight=1.0
    )
    return [str(first), str(second.parent)]


def test_saved_scores_are_used_until_network_part_or_precision_is_another(steel, networks, two, capsys):
    def run(part: str | None = None, hardware: Hardware = CPU, split: str | None = None) -> int:
        before = len(networks.loaded)
        scores_of(two, steel.root, split, part, hardware, QUICK)
        return len(networks.loaded) - before

    assert run() == 2 and run() == 0 and run("test", Hardware("cpu")) == 0
    assert capsys.readouterr().err.count("same network, same images") == 4
    assert run("val") == 2 and run(split="swapped") == 2 and run() == 0
    assert run(hardware=Hardware("cpu", "bf16")) == 2
    networks.write(Path(two[0]), lambda name: outlined(steel.truth[name] % 255), weight=2.0)
    assert run(hardware=Hardware("cpu")) == 1


def test_thresholds_stored_since_are_in_force(steel, networks, two):
    scores_of(two, steel.root, None, None, CPU, QUICK)
    contract = read_contract(Path(two[0]))
    contract.thresholds = {"ng": 0.95}
    rewrite_contract(Path(two[0]), contract)
    first, second = scores_of(two, steel.root, None, None, CPU, QUICK)
    assert len(networks.loaded) == 2
    assert first.about["own_thresholds"] == {"ng": 0.95} and second.about["own_thresholds"] == {}
    parts = compare_scored(first, second, QUICK)
    assert parts["first"]["parts"]["escapes"] == parts["first"]["parts"]["defective_parts"] == 3
    assert parts["second"]["parts"]["escapes"] == 0


def test_models_runs_folders_and_masks_stand_side_by_side(steel, networks, two, tmp_path: Path, monkeypatch):
    evaluated = evaluate(Path(two[0]), steel.root, hardware=CPU, asked=QUICK)
    masks = evaluate_masks(steel.write_masks(tmp_path / "masks"), steel.root, asked=QUICK)
    monkeypatch.chdir(tmp_path)
    first, second = scores_of([evaluated["out"], "b"], steel.root, None, None, CPU, QUICK)
    result = compare_scored(first, second, QUICK)
    assert result["differences"]["defect_iou"]["second"] == 1.0 and result["first"]["name"] == two[0]
    again = compare_scored(*scores_of([masks["out"], evaluated["out"]], None, None, None, CPU), QUICK)
    assert again["differences"]["defect_iou"]["difference"] == 0.0 and again["first"]["name"] == str(tmp_path / "masks")
    assert any("masks do not say" in note for note in again["notes"])
    val = scores_of([two[0]], steel.root, None, "val", CPU, QUICK)
    with pytest.raises(InputError, match="do not hold the same images"):
        compare_scored(first, val[0], QUICK)


def test_all_names_are_looked_up_before_a_network_runs(steel, networks, two, tmp_path: Path):
    other = networks.write(tmp_path / "c" / "model.safetensors", outlined, classes=["inclusion", "x", "scratches"])
    for bad, word in ((str(tmp_path / "nowhere"), "no earlier evaluation"), (str(other), "same order")):
        with pytest.raises(InputError, match=word):
            scores_of([two[0], bad], steel.root, None, None, CPU, QUICK)
    with pytest.raises(InputError, match="no part 'tets'"):
        scores_of(two, steel.root, None, "tets", CPU, QUICK)
    assert networks.loaded == [] and not (tmp_path / "a" / "evaluation").exists()


def test_an_evaluation_is_found_below_runs_too(steel, networks, two, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate(Path(two[0]), steel.root, out=tmp_path / "runs" / "x" / "evaluation" / "t", hardware=CPU, asked=QUICK)
    assert earlier_evaluation("x/evaluation/t") == Path("runs/x/evaluation/t")
    assert earlier_evaluation("x") is None and earlier_evaluation(two[0]) is None


def test_images_cannot_be_chosen_for_an_evaluation(steel, networks, two):
    folder = Path(evaluate(Path(two[0]), steel.root, hardware=CPU, asked=QUICK)["out"])
    refuse_choice(folder, None, None, None)
    for choice in ((steel.root, None, None), (None, "swapped", None), (None, None, "test")):
        with pytest.raises(InputError, match="images already chosen"):
            refuse_choice(folder, *choice)
        with pytest.raises(InputError, match="images already chosen"):
            scores_of([str(folder), str(folder)], *choice, CPU)
    assert len(scores_of([str(folder), two[0]], steel.root, None, "test", CPU)) == 2
