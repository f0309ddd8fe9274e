/** `lacuna plan`. */
import { HOST_DTYPES } from '../core/precision.ts';
import { plan } from '../index.ts';
import {
  type CommonOptions,
  cacheFolderOf,
  jobOptions,
  type RegisterCommand,
  storedAs,
  withCommonOptions,
} from './command.ts';
import { planText } from './describe.ts';
import { type PresetOptions, planOptions, withPresetOptions } from './presets.ts';

interface Options extends CommonOptions, PresetOptions {
  readonly output: string;
  readonly explain?: boolean;
  readonly force?: boolean;
}

export const registerPlan: RegisterCommand = (program, context) => {
  const command = program
    .command('plan')
    .description('choose what to leave out, from statistics')
    .argument('<statistics>', 'statistics JSON')
    .requiredOption('-o, --output <file>', 'plan JSON to make')
    .option('--dtype <name>', storedAs('how the weights will be stored, which times depend on', HOST_DTYPES))
    .option('--explain', 'give the reason for every block')
    .option('--force', 'replace an existing output');
  withCommonOptions(withPresetOptions(command, 'native')).action(async (statistics: string, options: Options) => {
    const { output, force, explain = false } = options;
    const { progress, threads } = jobOptions(options, context);
    const { nativeFolder } = context.io;
    const surroundings = { cacheFolder: cacheFolderOf(context), nativeFolder, progress, threads };
    const preset = planOptions({ ...options, host: options.host ?? 'native' });
    const result = await plan({ statistics, output, force, preset, ...surroundings });
    context.print(
      options,
      result,
      (made, width) => `${planText(made.plan, width, explain)}\n\nWritten to ${made.output}`,
    );
  });
};
