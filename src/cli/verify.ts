/** `lacuna verify` and `lacuna verify expect`. */
import { LacunaError } from '../core/errors.ts';
import { percent } from '../core/figures.ts';
import { type ExpectOptions, type Verification, type VerifyOptions, verify, writeExpectations } from '../index.ts';
import { type CommandContext, type Flags, type RegisterCommand, sourceOptions, withCommonOptions } from './command.ts';
import { foldedTable, wrap } from './table.ts';

type Options = Partial<Flags<VerifyOptions, 'folder'>>;

const PYTHON_HELP = 'Python with Transformers (default: LACUNA_PYTHON, .venv, python3)';

export const registerVerify: RegisterCommand = (program, context) => {
  const command = program
    .command('verify')
    .description('compare a dense folder with what Transformers computes from its checkpoint')
    .argument('<dir>', 'folder made by convert')
    .option('--checkpoint <checkpoint>', 'the checkpoint it was made from (required)')
    .option('--adapter <dir>', 'LoRA adapter that was merged')
    .option('--python <path>', PYTHON_HELP)
    .option('--expectations <file>', 'what Transformers computed before, made by `verify expect`');
  withCommonOptions(command).action(async (folder: string, options: Options) => {
    const { checkpoint } = options;
    // Commander would ask `verify expect` for it too, were it declared as required.
    if (checkpoint === undefined)
      throw new LacunaError('usage', 'The checkpoint that the folder was made from is not given', {
        hint: `lacuna verify ${folder} --checkpoint CHECKPOINT`,
      });
    const reference = referenceOptions(options, context);
    const result = await verify({ folder, checkpoint, ...reference, ...sourceOptions(options, context) });
    context.print(options, result, ({ checks }, width) => checksText(checks, width));
    if (result.checks.some(({ passed }) => !passed)) context.fail();
  });
  const expect = command
    .command('expect')
    .description('write what Transformers computes into a file, to verify on machines without it')
    .argument('<checkpoint>', 'folder with config.json and safetensors, GGUF file, or owner/name on the Hub')
    .option('-o, --output <file>', 'file to write (default: beside the checkpoint, where verify finds it)')
    .option('--adapter <dir>', 'LoRA adapter to merge into the checkpoint')
    .option('--python <path>', PYTHON_HELP)
    .option('--force', 'replace an existing file');
  withCommonOptions(expect).action(async (checkpoint: string, options: Flags<ExpectOptions, 'checkpoint'>) => {
    const { output, force, python = context.io.python } = options;
    const job = sourceOptions(options, context);
    const result = await writeExpectations({ checkpoint, output, force, python, ...job });
    context.print(options, result, ({ output, tools }) => `Written to ${output} by ${toolsText(tools)}`);
  });
};

/** Where to take the reference from. A named Python comes before the one of the surroundings. */
export function referenceOptions(
  { python, expectations }: Pick<Options, 'python' | 'expectations'>,
  { io }: CommandContext,
): Pick<Options, 'python' | 'expectations'> {
  if (python !== undefined && expectations !== undefined)
    throw new LacunaError('usage', '--python and --expectations name two references', { hint: 'Give one of them.' });
  return { python: python ?? io.python, expectations };
}

/** A table of what was compared with what, and the faults. */
export function checksText(checks: readonly Verification[], width: number): string {
  const rows = checks.flatMap((check) => [
    ...checkRow(check, 'prefill'),
    ...checkRow(check, 'decode'),
    limitsRow(check),
  ]);
  const columns = ['precision', 'rows of logits', 'difference', 'KL', 'same top-1', 'check'];
  const failures = checks.flatMap(({ precision, failures: found }) =>
    found.map((failure) => `${precision}: ${failure}`),
  );
  const references = [...new Set(checks.map(referenceText))];
  return [
    foldedTable(columns, rows, width),
    [...references, ...failures].map((line) => wrap(line, width, '  ')).join('\n'),
  ].join('\n\n');
}

function checkRow(check: Verification, part: 'prefill' | 'decode'): string[][] {
  const measured = check[part];
  if (measured === null) return [];
  const { rows, relativeDifference, meanKl, top1Agreement } = measured;
  const figures = [relativeDifference.toExponential(1), meanKl.toExponential(1), percent(top1Agreement)];
  return [[check.precision, `${rows} of ${part === 'prefill' ? 'prompts' : 'decoding'}`, ...figures, '']];
}

function limitsRow({ precision, limits, passed }: Verification): string[] {
  const { relativeDifference, meanKl, top1Agreement } = limits;
  const shown = [relativeDifference?.toExponential(1), meanKl?.toExponential(1)].map((figure) => figure ?? '-');
  const share = top1Agreement === undefined ? '-' : percent(top1Agreement);
  return [precision, 'limit', ...shown, share, passed ? 'passed' : 'FAILED'];
}

function referenceText({ reference, tools, sameTokenIds }: Verification): string {
  const ids = sameTokenIds === null ? 'not compared' : sameTokenIds ? 'the same' : 'others';
  const when = reference === 'expectations' ? ', computed before' : '';
  return `compared with ${toolsText(tools)}${when}; token ids: ${ids}`;
}

function toolsText({ transformers = 'unknown', torch = 'unknown' }: Verification['tools']): string {
  return `Transformers ${transformers} (torch ${torch}, float32)`;
}
