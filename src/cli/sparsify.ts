/** `lacuna sparsify`. */
import { IN_BLOCKS } from '../core/precision.ts';
import { SPARSE_PRECISIONS, type SparsifyOptions, type SparsifyResult, sparsify } from '../index.ts';
import {
  type Flags,
  ownOptions,
  type RegisterCommand,
  sourceOptions,
  storedAs,
  withCheckpointOptions,
  withCommonOptions,
} from './command.ts';
import { positiveInteger } from './parse.ts';
import { proseTable } from './table.ts';

type Options = Flags<SparsifyOptions, 'source'> & { readonly explain?: boolean };

export const registerSparsify: RegisterCommand = (program, context) => {
  const command = program
    .command('sparsify')
    .description('rewrite a model by a plan, with sparse operators')
    .argument('<source>', 'checkpoint or dense folder')
    .requiredOption('--plan <file>', 'plan JSON')
    .requiredOption('-o, --output <dir>', 'folder to make')
    .option('--dtype <name>', storedAs('how weights of a checkpoint are stored', SPARSE_PRECISIONS))
    .option('--data <file...>', `UTF-8 texts that ${IN_BLOCKS} are rounded by (default: the pinned "fit" text)`)
    .option('--tokens <n>', 'use at most this many tokens of them (default: 8192)', positiveInteger)
    .option('--explain', 'list every rule, whether it applied and why not')
    .option('--force', 'replace an existing output');
  withCommonOptions(withCheckpointOptions(command, 'write')).action(async (source: string, options: Options) => {
    const { explain = false, ...own } = ownOptions(options);
    const result = await sparsify({ ...own, source, ...sourceOptions(options, context) });
    context.print(options, result, (made, width) => format(made, width, explain));
  });
};

function format({ output, report }: SparsifyResult, width: number, explain: boolean): string {
  const applied = report.filter((rule) => rule.applied).length;
  const refused = report.length - applied;
  const head = `${applied} rules applied${refused === 0 ? '' : `, ${refused} did not`}`;
  const rows = report.map((rule) => [rule.rule, rule.block, rule.applied ? 'yes' : 'no', rule.reason]);
  return [explain ? proseTable(['rule', 'block', 'applied', 'reason'], rows, width) : '', head, `Written to ${output}`]
    .filter(Boolean)
    .join('\n');
}
