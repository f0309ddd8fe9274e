/** `--shard i/n`. */
import { InvalidArgumentError } from 'commander';

export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** "0/4" is the first of four. Indices start at 0, as JOB_COMPLETION_INDEX and SLURM_ARRAY_TASK_ID do. */
export function parseShard(text: string): Shard {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const index = Number(match?.[1]);
  const count = Number(match?.[2]);
  if (!match || count < 1 || index >= count) throw new InvalidArgumentError('Expected i/n with 0 <= i < n, as 0/4.');
  return { index, count };
}
