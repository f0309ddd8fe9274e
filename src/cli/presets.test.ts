import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import type { PrecisionName } from '../index.ts';
import { type PresetOptions, planOptions, withPresetOptions } from './presets.ts';

function parse(...args: string[]) {
  const command = withPresetOptions(new Command(), 'native').exitOverride();
  return planOptions(command.parse(args, { from: 'user' }).opts<PresetOptions>());
}

describe('options of a preset', () => {
  it('are those of top-k', () => {
    expect(parse('--preset', 'top-k', '--keep', '30%', '--prefill', 'dense')).toEqual({
      preset: 'top-k',
      keep: 0.3,
      prefill: 'dense',
      host: undefined,
    });
  });

  it('are those of ffn-skip', () => {
    const args = ['--cold-start', '2', '--cold-end', '9', '--warm-up-tokens', '0', '--run-length', '3'];
    expect(parse('--preset', 'ffn-skip', ...args, '--threshold', '0.97', '--no-re-arm')).toEqual({
      preset: 'ffn-skip',
      coldStart: 2,
      coldEnd: 9,
      warmUpTokens: 0,
      runLength: 3,
      threshold: 0.97,
      reArm: false,
    });
  });

  it('name the host, which reckons with how weights are stored', () => {
    const hostOf = (dtype: PrecisionName | undefined, ...args: string[]) => {
      const command = withPresetOptions(new Command(), 'native').exitOverride();
      const options = command.parse(['--preset', 'top-k', ...args], { from: 'user' }).opts<PresetOptions>();
      return planOptions({ ...options, dtype }).host;
    };
    expect(hostOf(undefined, '--host', 'stock')).toEqual({ kind: 'stock', dtype: 'fp32' });
    expect(hostOf('int8', '--host', 'stock')).toEqual({ kind: 'stock', dtype: 'int8' });
    expect(hostOf('int8', '--host', 'native')).toEqual({ kind: 'native', dtype: 'int8' });
    // Nothing is known of what fp16 costs: it is for GPUs.
    expect(hostOf('fp16', '--host', 'native')).toEqual({ kind: 'native' });
    // Making the plan finds out what is installed.
    expect(hostOf('int8')).toBeUndefined();
    expect(() => hostOf('fp16', '--host', 'stock')).toThrow(
      'Expected fp32, bf16, int8, int6, int5, int4 for the dtype',
    );
  });

  it.each([[['--cold-start', '2']], [['--warm-up-tokens', '0']], [['--no-re-arm']]])(
    'are not %j with top-k',
    (args) => {
      expect(() => parse('--preset', 'top-k', ...args)).toThrow(`${args[0]}: only the preset ffn-skip`);
    },
  );
});
