/** `lacuna plan`. */
import { type PlanResult, plan } from '../index.ts';
import { type CommonOptions, print, type RegisterCommand, withCommonOptions } from './command.ts';
import { planTable } from './inspect.ts';
import { type PresetOptions, planOptions, withPresetOptions } from './presets.ts';

interface Options extends CommonOptions, PresetOptions {
  readonly output: string;
  readonly force?: boolean;
}

export const registerPlan: RegisterCommand = (program, { io }) => {
  const command = program
    .command('plan')
    .description('choose what to leave out, from statistics')
    .argument('<statistics>', 'statistics JSON')
    .requiredOption('-o, --output <file>', 'plan JSON to make')
    .option('--force', 'replace an existing output');
  withCommonOptions(withPresetOptions(command)).action(async (statistics: string, options: Options) => {
    const { output, force } = options;
    print(io, options, await plan({ statistics, output, force, preset: planOptions(options) }), format);
  });
};

function format({ output, plan }: PlanResult): string {
  return `${planTable(plan)}\n\nWritten to ${output}`;
}
