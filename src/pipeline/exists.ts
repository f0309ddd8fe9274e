/** Whether something is at a path, and the refusal to write over it. */
import { stat } from 'node:fs/promises';
import { LacunaError } from '../core/errors.ts';

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** @throws LacunaError `exists` when `output` is there and `force` is not given. */
export async function refuseExisting({
  output,
  force,
}: {
  readonly output: string;
  readonly force?: boolean;
}): Promise<void> {
  if (force || !(await exists(output))) return;
  throw new LacunaError('exists', `${output} already exists`, {
    hint: 'Give another name, or replace it with --force.',
  });
}
