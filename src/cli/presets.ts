/** Options of `plan` and `build` that say what to leave out. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { LacunaError } from '../core/errors.ts';
import { hostNamed } from '../core/plan.ts';
import type { PlanOptions, PrecisionName } from '../index.ts';
import { cosine, nonNegativeInteger, positiveInteger, share } from './parse.ts';

export interface PresetOptions {
  readonly preset: PlanOptions['preset'];
  readonly target?: number;
  readonly coldStart?: number;
  readonly coldEnd?: number;
  readonly warmUpTokens?: number;
  readonly runLength?: number;
  readonly threshold?: number;
  readonly reArm: boolean;
  readonly prefill: 'sparse' | 'dense';
  readonly host?: 'native' | 'stock';
  /** How the weights will be stored, which matters to the host. */
  readonly dtype?: PrecisionName;
}

/** `usualHost` says what is taken where no host is named. */
export function withPresetOptions(command: Command, usualHost: string): Command {
  return command
    .addOption(new Option('--preset <name>', 'what to leave out').choices(['ffn-skip', 'top-k']).makeOptionMandatory())
    .option(
      '--target <share>',
      'ffn-skip: share of FFN blocks to skip (default 0.25); top-k: share of neurons to keep (default 0.5)',
      share,
    )
    .addOption(
      new Option('--prefill <how>', 'dense: calls with several tokens run dense')
        .choices(['sparse', 'dense'])
        .default('sparse'),
    )
    .addOption(
      new Option(
        '--host <name>',
        `where it is to pay: in the native kernels, or in stock ONNX Runtime without them (default: ${usualHost})`,
      ).choices(['native', 'stock']),
    )
    .option('--cold-start <layer>', 'ffn-skip: first layer that may be skipped', nonNegativeInteger)
    .option('--cold-end <layer>', 'ffn-skip: first layer after those that may be skipped', positiveInteger)
    .option('--warm-up-tokens <n>', 'ffn-skip: first tokens that skip nothing', nonNegativeInteger)
    .option('--run-length <n>', 'ffn-skip: blocks skipped after one that was saturated', positiveInteger)
    .option(
      '--threshold <cosine>',
      'ffn-skip: cosine from which blocks are skipped, instead of solving for the target',
      cosine,
    )
    .option('--no-re-arm', 'ffn-skip: at most one run of skips a token');
}

/**
 * The options of the chosen preset.
 *
 * @throws LacunaError `usage` when one of another preset is given: it would say nothing.
 */
export function planOptions(options: PresetOptions): PlanOptions {
  const { preset, target, prefill } = options;
  const host = options.host && hostNamed(options.host, options.dtype);
  const { coldStart, coldEnd, warmUpTokens, runLength, threshold, reArm } = options;
  if (preset === 'ffn-skip')
    return {
      preset,
      targetSkipped: target,
      prefill,
      host,
      coldStart,
      coldEnd,
      warmUpTokens,
      runLength,
      threshold,
      reArm,
    };
  const foreign = Object.entries({
    '--cold-start': coldStart,
    '--cold-end': coldEnd,
    '--warm-up-tokens': warmUpTokens,
    '--run-length': runLength,
    '--threshold': threshold,
    '--no-re-arm': reArm ? undefined : false,
  }).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (foreign.length > 0)
    throw new LacunaError('usage', `${foreign.join(', ')}: only the preset ffn-skip takes this, not ${preset}`, {
      hint: 'Leave it out, or use --preset ffn-skip.',
    });
  return { preset, density: target, prefill, host };
}
