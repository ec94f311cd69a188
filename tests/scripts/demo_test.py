"""scripts/demo.sh, the main job, from its first command to its last, with a training of two steps."""

import os

import pytest
import support


@pytest.mark.skipif(support.build_dir() != support.ROOT / "build/release",
                    reason="the demo builds build/release, which is not what is tested")
def test_demo(tmp_path):
    model = support.ROOT / "data/minilm"
    if not model.exists():
        support.skip("there is no data/minilm")
    result = support.run(
        support.ROOT / "scripts/demo.sh", "--trainer.max_epochs", "1",
        "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "2", timeout=280,
        cwd=support.ROOT, env=os.environ | {"LIGHTNING_DEMO_DIR": str(tmp_path)})
    assert result.text.count("\nvalidate metric") == 2, "scored before and after"
    assert result.text.count("\nQ: ") == 3 and result.text.count("\nA: ") == 3
    assert list(tmp_path.glob("lightning_logs/version_*/checkpoints/best.ckpt"))
