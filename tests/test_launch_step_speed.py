"""The table of the speed comparison on made-up steps, and that the published loop's stand-in does what ours does."""

import argparse
import random
import subprocess
import sys

import pytest
import torch
from conftest import metrics_of

from launch.experiments import published_loop, step_speed
from launch.experiments.process_memory import wait_with_peak
from rl.bench_update import Bare
from rl.encoding import PromptEncoder
from rl.pretrained import load_model
from rl.train_rows import ClipRange, LossTerms, TrainRow, rows_loss

PEAK = 1_500_000_000


def measured(*steps: tuple[float, float]) -> step_speed.Measured:
    """Of (seconds, tokens) by step; a third of the seconds goes into sampling."""
    numbers = step_speed.Measured(peak_bytes=[PEAK // 2, PEAK])
    lines = [{"time/step_s": s, "tokens/sampled": n, "time/sample_s": s / 3, "kl/mean": 1.0} for s, n in steps]
    step_speed.add_steps(numbers, lines)
    return numbers


def rows_of(table: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_table_has_medians_and_ratios_to_our_fastest_of_each_shape():
    rows = rows_of(
        step_speed.table(
            {
                "ours fp32, 1 process": measured((9.0, 100), (12.0, 100), (30.0, 100)),
                "ours bf16, 1 process": measured((6.0, 120), (6.0, 120)),
                "ours bf16, one turn": measured((3.0, 90)),
                "published fp32": measured((90.0, 100), (60.0, 200)),
                "TRL bf16": measured((18.0, 90)),
            }
        )
    )
    assert rows[""][-2:] == ["x ours, two turns", "x ours, one turn"]
    assert rows["ours fp32, 1 process"] == ["2", "12.00 (9.00-30.00)", "100", "5.9", "1.50", "2.00", "4.00"]
    assert rows["published fp32"] == ["2", "75.00 (60.00-90.00)", "150", "2.0", "1.50", "12.50", "25.00"]
    assert rows["ours bf16, one turn"][-1] == "1.00"
    assert rows["TRL bf16"] == ["1", "18.00 (18.00-18.00)", "90", "5.0", "1.50", "3.00", "6.00"]


def test_table_without_ours_has_no_ratios_and_tells_the_parts():
    table = step_speed.table({"TRL fp32": measured((3.0, 90), (6.0, 90))})
    assert rows_of(table)["TRL fp32"] == ["1", "4.50 (3.00-6.00)", "90", "20.0", "1.50"]
    assert "TRL fp32: sample 1.50 s." in table


@pytest.mark.parametrize("name", step_speed.ARMS)
def test_command_of_an_arm_names_its_turns_its_precision_and_its_processes(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["step_speed", "--model_name_or_path", "M", "--data", "F", "--trl_python", sys.executable])
    flags, arm = step_speed._parse(), step_speed.ARMS[name]
    flags.trl_python = "T"
    words = step_speed.command(arm, flags, tmp_path)
    assert words[0] == ("T" if arm.kind == "trl" else sys.executable)
    assert words[words.index("--dtype") + 1] == arm.dtype
    assert ("--nproc_per_node" in words) == (arm.num_processes > 1)
    assert ("--num_turns" in words) == (arm.kind == "ours" and arm.num_turns == 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "1"], "--steps is 1"),
        (["--rloo_k", "3"], "multiple of --rloo_k, which is 3"),
        (["--trl_python", "nowhere"], "--trl_python nowhere: no such file"),
        (["--arms", "TRL fp32"], "'TRL fp32' needs --trl_python"),
        (["--arms", "TRL"], "invalid choice: 'TRL'"),
    ],
)
def test_bad_flags_are_named_before_anything_runs(words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step_speed", "--model_name_or_path", "M", "--data", "F", *words])
    with pytest.raises(SystemExit):
        step_speed._parse()
    assert said in capsys.readouterr().err


def test_without_trl_its_arms_are_left_out(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["step_speed", "--model_name_or_path", "M", "--data", "F"])
    kinds = [step_speed.ARMS[name].kind for name in step_speed._parse().arms]
    assert set(kinds) == {"ours", "published"}


def test_peak_counts_what_a_child_holds():
    hold = "x = bytearray(200_000_000); import time; time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    peak = wait_with_peak(subprocess.Popen([sys.executable, "-c", parent]))
    assert 200e6 < peak < 400e6


def loop_flags(**values) -> argparse.Namespace:
    defaults = {"rloo_k": 2, "max_new_tokens": 8, "max_rows": 3, "temperature": 0.9, "per_device_train_batch_size": 3}
    defaults |= {"gamma": 0.5, "kl_coef": 0.01, "timeout_s": 10.0, "to_the_limit": False}
    return argparse.Namespace(**{**defaults, **values})


def test_loss_and_gradient_of_the_published_loop_are_ours(tiny_model_dir):
    draw = random.Random(0)
    prompts = [[draw.randrange(200) for _ in range(n)] for n in (5, 9, 7)]
    completions = [[draw.randrange(200) for _ in range(n)] for n in (4, 1, 6)]
    advantages = [1.5, -0.5, 0.25]
    rows = published_loop.Rows.pad(prompts, completions, torch.device("cpu"))
    found = []
    for is_ours in (True, False):
        model = load_model(str(tiny_model_dir), torch.float32, "sdpa").train()
        # Off the policy by a little: one ratio inside the clip, two outside, of which one binds.
        gaps = torch.tensor([[0.0], [0.5], [0.5]])
        old = published_loop.forward(model, rows, 0.9).detach() + gaps / rows.completion_mask.sum(-1, keepdim=True)
        if is_ours:
            olds = [row[: len(ids)].tolist() for row, ids in zip(old, completions)]
            train_rows = [TrainRow(p, c, a, 1.0, old_logprobs=o) for p, c, a, o in zip(prompts, completions, advantages, olds)]
            terms = LossTerms(clip=ClipRange(published_loop.CLIP, published_loop.CLIP, "sequence"))
            loss = rows_loss(Bare(model), train_rows, True, 0.9, terms)[0]
        else:
            loss = published_loop.clipped_loss(model, rows, old, torch.tensor(advantages), 0.9)
        loss.backward()
        found.append((loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (our_loss, our_gradient), (loss, gradient) = found
    assert loss == pytest.approx(our_loss, rel=1e-5)
    assert gradient.norm() > 1e-3
    assert (gradient - our_gradient).norm() < 1e-4 * our_gradient.norm()


def test_step_of_the_published_loop_moves_the_policy(tiny_model_dir, tokenizer, problems, monkeypatch):
    monkeypatch.setattr(published_loop, "grade", lambda graded, completions, *_: torch.arange(len(graded)) % 3.0)
    policy, reference = (load_model(str(tiny_model_dir), torch.float32, "sdpa") for _ in range(2))
    encoder = PromptEncoder(tokenizer, [], [tokenizer.eos_token_id])
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    torch.manual_seed(0)
    before = policy.get_input_embeddings().weight.detach().clone()
    first = published_loop.step(policy, reference.requires_grad_(False), optimizer, encoder, problems[:2], loop_flags())
    # Policy and reference are one, whichever way the logprobs of each were made.
    assert first["kl/turn1"] == pytest.approx(0, abs=1e-5)
    assert first["kl/turn2"] == pytest.approx(0, abs=1e-4)
    assert first["train/loss"] == pytest.approx(0, abs=1e-4)  # advantages of a group add up to 0 where ratios are 1
    assert 6 <= first["tokens/sampled"] <= 6 * 8
    assert not torch.equal(before, policy.get_input_embeddings().weight)
    second = published_loop.step(policy, reference, optimizer, encoder, problems[:2], loop_flags(to_the_limit=True))
    assert second["tokens/sampled"] == 6 * 8
    assert second["kl/turn2"] != pytest.approx(0, abs=1e-3)
    assert {"time/sample_s", "time/kl_s", "time/reward_s", "time/update_s", "time/step_s"} <= second.keys()


def test_published_grading_counts_tests_and_survives_programs(problems, tmp_path):
    def passed(code: str, timeout_s: float = 10.0) -> int:
        return published_loop.num_passed(code, problems[0], str(tmp_path), timeout_s)

    assert passed("print('passed 9')\n" + problems[0].code) == 3
    assert passed("def f(n):\n    return 3") == 1
    assert passed("def f(n:") == passed("import sys; sys.exit(0)") == passed("while True: pass", 0.3) == 0


def test_published_loop_logs_every_step(tiny_model_dir, files, tmp_path, monkeypatch):
    flags = {"model_name_or_path": tiny_model_dir, "data": files / "problems.jsonl", "output_dir": tmp_path}
    flags |= {"global_batch_size": 2, "rloo_k": 2, "max_new_tokens": 4, "max_steps": 2, "dtype": "bfloat16"}
    monkeypatch.setattr(
        sys, "argv", ["published_loop", *[str(w) for name, value in flags.items() for w in (f"--{name}", value)]]
    )
    published_loop.main()
    assert [line["step"] for line in metrics_of(tmp_path)] == [1, 2]
