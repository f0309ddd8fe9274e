/** `lacuna refit`. */
import { type RefitOptions, refit } from '../index.ts';
import {
  type Flags,
  ownOptions,
  type RegisterCommand,
  sourceOptions,
  withCheckpointOptions,
  withCommonOptions,
} from './command.ts';
import { planText } from './describe.ts';
import { positiveInteger } from './parse.ts';

type Options = Flags<RefitOptions, 'checkpoint'> & { readonly explain?: boolean };

export const registerRefit: RegisterCommand = (program, context) => {
  const command = program
    .command('refit')
    .description('fit the maps of a plan by replace anew, each to what arrives when earlier blocks are replaced')
    .argument('<checkpoint>', 'checkpoint that the plan was made for')
    .requiredOption('--plan <file>', 'plan JSON')
    .requiredOption('-o, --output <file>', 'plan JSON to make')
    .option('--data <file...>', 'texts, UTF-8 or JSONL, to fit to (default: the pinned "fit" text)')
    .option('--tokens <n>', 'use at most this many tokens', positiveInteger)
    .option('--sequence-length <n>', 'tokens a sequence', positiveInteger, 512)
    .option('--explain', 'give the reason for every block')
    .option('--force', 'replace an existing output');
  withCommonOptions(withCheckpointOptions(command, 'take')).action(async (checkpoint: string, options: Options) => {
    const { explain = false, ...own } = ownOptions(options);
    const result = await refit({ ...own, checkpoint, ...sourceOptions(options, context) });
    context.print(
      options,
      result,
      ({ output, plan }, width) => `${planText(plan, width, explain)}\n\nWritten to ${output}`,
    );
  });
};
