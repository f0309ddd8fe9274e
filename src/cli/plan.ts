/** `lacuna plan`. */
import { LacunaError } from '../core/errors.ts';
import { HOST_DTYPES } from '../core/precision.ts';
import { plan } from '../index.ts';
import { type CommonOptions, type RegisterCommand, storedAs, withCommonOptions } from './command.ts';
import { planText } from './describe.ts';
import { type PresetOptions, planOptions, withPresetOptions } from './presets.ts';

interface Options extends CommonOptions, PresetOptions {
  readonly output: string;
  readonly explain?: boolean;
  readonly force?: boolean;
}

export const registerPlan: RegisterCommand = (program, { print }) => {
  const command = program
    .command('plan')
    .description('choose what to leave out, from statistics')
    .argument('<statistics>', 'statistics JSON')
    .requiredOption('-o, --output <file>', 'plan JSON to make')
    .option('--dtype <name>', storedAs('with --host stock: how the weights will be stored', HOST_DTYPES))
    .option('--explain', 'give the reason for every block')
    .option('--force', 'replace an existing output');
  withCommonOptions(withPresetOptions(command, 'native')).action(async (statistics: string, options: Options) => {
    const { output, force, explain = false } = options;
    if (options.dtype !== undefined && options.host !== 'stock')
      throw new LacunaError('usage', '--dtype: only a plan for --host stock depends on it', {
        hint: 'Leave it out, or use --host stock.',
      });
    const result = await plan({ statistics, output, force, preset: planOptions(options) });
    print(options, result, (made, width) => `${planText(made.plan, width, explain)}\n\nWritten to ${made.output}`);
  });
};
