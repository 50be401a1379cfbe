"""DeepSpeed JSONs: what they may say, and what becomes of `auto`."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from deepspeed.accelerator import get_accelerator

from launch.zero import SamplingWeights, ZeroConfigError, load_zero_config, zero_stage

LAUNCH = Path(__file__).parents[1] / "launch"


def write(path: Path, **config) -> str:
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_templates(stage):
    config = load_zero_config(str(LAUNCH / f"zero{stage}.json"), 4, 0.5, torch.bfloat16)
    assert zero_stage(config) == stage
    assert config["train_micro_batch_size_per_gpu"] == 4
    assert config["gradient_accumulation_steps"] == 1
    assert config["gradient_clipping"] == 0.5
    assert config["bf16"]["enabled"] is True
    assert "auto" not in json.dumps(config)


def test_deepspeed_does_not_wait_for_the_gpu_in_forward_passes_unless_told(tmp_path):
    """Its timer would, in the module's own passes too, from the third step on: a decoding step could not be recorded."""
    assert load_zero_config(None, 1, 1.0, torch.float32)["timers"] == {"throughput": {"enabled": False}}
    other = load_zero_config(write(tmp_path / "z.json", timers={"other": 1}), 1, 1.0, torch.float32)["timers"]
    assert other == {"other": 1, "throughput": {"enabled": False}}
    own = {"throughput": {"enabled": True, "synchronized": True}}
    assert load_zero_config(write(tmp_path / "z.json", timers=own), 1, 1.0, torch.float32)["timers"] == own


def test_default_is_stage_two():
    assert zero_stage(load_zero_config(None, 1, 1.0, torch.float32)) == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": {"type": "Adam"}}, "remove 'optimizer'; it is set by --learning_rate"),
        ({"scheduler": {}}, "remove 'scheduler'"),
        ({"gradient_clipping": 3.0}, "gradient_clipping is 3.0, the flags give 1.0"),
        ({"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}}, 'zero_optimization.reduce_bucket_size is "auto"'),
        ({"train_micro_batch_size_per_gpu": 8}, "train_micro_batch_size_per_gpu is 8, the flags give 4"),
    ],
)
def test_what_flags_decide_a_json_may_not(tmp_path, config, message):
    with pytest.raises(ZeroConfigError, match=message):
        load_zero_config(write(tmp_path / "z.json", **config), 4, 1.0, torch.float32)


def test_malformed_json_names_its_line(tmp_path):
    (tmp_path / "z.json").write_text('{\n"a": }')
    with pytest.raises(ZeroConfigError, match=r"z\.json:2: not valid JSON"):
        load_zero_config(str(tmp_path / "z.json"), 4, 1.0, torch.float32)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[]", "the file"),
        ('{"zero_optimization": null}', "zero_optimization"),
        ('{"zero_optimization": {"offload_optimizer": null}}', "offload_optimizer"),
        ('{"bf16": true}', "bf16"),
    ],
)
def test_sections_have_to_be_objects(tmp_path, text, part):
    (tmp_path / "z.json").write_text(text)
    with pytest.raises(ZeroConfigError, match=rf"z\.json: {part} must be a JSON object, as in launch/zero2\.json"):
        load_zero_config(str(tmp_path / "z.json"), 4, 1.0, torch.float32)


def test_float16_is_refused_where_the_device_has_none(monkeypatch):
    monkeypatch.setattr(type(get_accelerator()), "is_fp16_supported", lambda _: False)
    with pytest.raises(ZeroConfigError, match="--dtype is float16: DeepSpeed does not compute in it on this device"):
        load_zero_config(None, 4, 1.0, torch.float16)


def test_a_json_and_dtype_must_agree(tmp_path):
    path = write(tmp_path / "z.json", bf16={"enabled": False})
    with pytest.raises(ZeroConfigError, match=r"bf16 says enabled False, --dtype gives torch\.bfloat16; write .auto."):
        load_zero_config(path, 4, 1.0, torch.bfloat16)


def test_offload_on_cpus_takes_torchs_optimizer():
    assert load_zero_config(str(LAUNCH / "zero2_offload.json"), 4, 1.0, torch.float32)["zero_force_ds_cpu_optimizer"] is False


def test_the_copy_that_is_saved_under_stage_three_ends_where_the_policy_does(tiny_model):
    """Chat models name the end of a turn in their generation configuration alone."""
    module = copy.deepcopy(tiny_model)
    module.generation_config.eos_token_id = [3, 5]
    engine = SimpleNamespace(module=module, device=torch.device("cpu"), zero_optimization_stage=lambda: 3)
    assert SamplingWeights(engine).whole().generation_config.eos_token_id == [3, 5]
