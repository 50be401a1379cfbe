"""Make boost pairs: first turns and corrections, from a model's own attempts, from mutated references, or from both.

    python -m data.boost --problems F --model_name_or_path M --output boost.json
    python -m data.boost --problems F --corrupt --output boost.json

Writes the pairs to `--output`, and beside it `.report.json` and `.attempts.jsonl`: every attempt with its verdict, from which
the same command goes on where it was killed. Several processes (torchrun) share the problems.
"""

import hashlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PreTrainedTokenizerBase

from data.boost.attempts import AttemptFile, Record
from data.boost.pairs import pairs_text
from data.boost.report import build_report, report_text
from data.boost.selection import candidates, choose
from data.files import write_whole
from data.problem import DataError, Problem, hide_tests, read_problems
from launch.processes import Processes, start_processes, stop_processes
from rl.boost_attempts import AttemptMaker
from rl.boosting import encode_pair
from rl.flags import exit_on_bad_input, parse_flags, resolved, start_logging
from rl.pair_config import PairConfig
from rl.pretrained import compute_dtype, context_tokens, load_model, load_model_config, load_tokenizer
from rl.rollout import build_collector, compile_suites, start_sandbox

logger = logging.getLogger("data.boost")


def main() -> None:
    with exit_on_bad_input():
        config = parse_flags(PairConfig, sys.argv[1:], __doc__)
        problems = hide_tests(read_problems(config.problems), config.hidden_tests)
        problems = problems[: config.max_problems or len(problems)]
        processes = start_processes(config.local_rank)
        start_logging(processes.is_main)
        tokenizer, model_config = None, None
        if config.model_name_or_path:
            tokenizer = load_tokenizer(config.model_name_or_path)
            model_config = load_model_config(config.model_name_or_path, config.attn_implementation)
        # Rank 0 alone reads and writes: other nodes need not see its disk.
        file = open_attempts(config, problems) if processes.is_main else None
        num_done = processes.gather(len(file.done) if file else 0)[0]
        with ExitStack() as resources, logging_redirect_tqdm():
            if num_done < len(problems):
                maker = build_maker(config, problems, tokenizer, model_config, processes, resources)
                collect(config, maker, num_done, processes, file)
        if file:
            write_pairs(config, problems, file.done, tokenizer, model_config)
    stop_processes()


def open_attempts(config: PairConfig, problems: Sequence[Problem]) -> AttemptFile:
    """The side file, with what an earlier run of the same command left in it."""
    settings = {"problems": _fingerprint(problems), **config.attempt_settings()}
    if config.fewshot_data:
        settings["fewshot_data"] = _fingerprint(read_problems(config.fewshot_data))
    if config.prompt_template and Path(config.prompt_template).is_file():  # a missing one is told of where it is read
        digest = hashlib.sha256(Path(config.prompt_template).read_bytes()).hexdigest()
        settings["prompt_template"] = f"{config.prompt_template} ({digest[:12]})"
    Path(config.output).parent.mkdir(parents=True, exist_ok=True)
    ids = [problem.problem_id for problem in problems]
    file = AttemptFile(config.beside(".attempts.jsonl"), settings, ids, config.problems_per_batch)
    if file.done:
        logger.info("%s holds %d of %d problems", file.path, len(file.done), len(problems))
    return file


def build_maker(
    config: PairConfig,
    problems: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase | None,
    model_config: Any,
    processes: Processes,
    resources: ExitStack,
) -> AttemptMaker:
    """The sandbox, and the model where one is sampled; every problem's tests and prompt are checked before it loads."""
    if not config.is_sampled:
        suites = compile_suites(problems)
        pool = resources.enter_context(start_sandbox(config))
        return AttemptMaker(config, problems, suites, pool)
    collector = build_collector(config, tokenizer, model_config, problems, 1, config.batch_size, processes.device)
    resources.enter_context(collector.pool)
    logger.info("sandbox: %s", collector.pool.layer_report())
    dtype = compute_dtype(config.dtype, processes.device)
    model = load_model(config.model_name_or_path, dtype, config.attn_implementation).to(processes.device).eval()
    return AttemptMaker(config, problems, collector.suites, collector.pool, collector, model)


def collect(config: PairConfig, maker: AttemptMaker, num_done: int, processes: Processes, file: AttemptFile | None) -> None:
    """Attempts of the problems from `num_done` on, in batches that the ranks share and rank 0 writes down."""
    num_problems = len(maker.problems)
    with tqdm(total=num_problems, initial=num_done, desc="problems", disable=None if file else True) as bar:
        for start in range(num_done, num_problems, config.problems_per_batch):
            rows = range(start, min(start + config.problems_per_batch, num_problems))
            mine = rows[processes.rank :: processes.world_size]
            gathered = processes.gather(dict(zip(mine, maker.records(mine))))
            if file:
                records = {row: record for part in gathered for row, record in part.items()}
                file.append([records[row] for row in rows])
            bar.update(len(rows))


def write_pairs(
    config: PairConfig,
    problems: Sequence[Problem],
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase | None,
    model_config: Any,
) -> None:
    """Choose pairs, write them and their report. Raises: DataError where there are none."""
    drops: Counter[str] = Counter()
    pool = [
        candidate
        for row, (problem, record) in enumerate(zip(problems, records))
        for candidate in candidates(row, problem, record.attempts, drops)
    ]
    chosen = choose(
        pool,
        second_turn_ratio=config.second_turn_ratio,
        right_share=config.right_share,
        seed=config.seed,
        count_tokens=(lambda pair: encode_pair(pair, tokenizer).num_tokens) if tokenizer else None,
        max_tokens=min(config.max_tokens or sys.maxsize, context_tokens(model_config)) if tokenizer else 0,
        drops=drops,
    )
    report = build_report(records, chosen, drops)
    print(report_text(report))
    if not chosen:
        raise DataError(
            f"--second_turn_ratio is {config.second_turn_ratio} and --right_share {config.right_share}: the attempts above "
            "make no pairs in that proportion; make more attempts, or change the proportion"
        )
    write_whole(config.beside(".report.json"), json.dumps({**report, "config": resolved(config)}, indent=2) + "\n")
    write_whole(Path(config.output), pairs_text([candidate.pair for candidate in chosen]))
    print(f"{config.output}: {len(chosen)} pairs")


def _fingerprint(problems: Sequence[Problem]) -> str:
    digest = hashlib.sha256(repr(list(problems)).encode("utf-8", "backslashreplace")).hexdigest()
    return f"{len(problems)} problems ({digest[:12]})"


if __name__ == "__main__":
    main()
