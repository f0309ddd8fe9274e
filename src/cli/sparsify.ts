/** `lacuna sparsify`. */
import { IN_BLOCKS } from '../core/precision.ts';
import { SPARSE_PRECISIONS, type SparsifyOptions, type SparsifyResult, sparsify } from '../index.ts';
import {
  type CommonOptions,
  print,
  type RegisterCommand,
  sourceOptions,
  storedAs,
  withCommonOptions,
} from './command.ts';
import { positiveInteger } from './parse.ts';
import { proseTable } from './table.ts';

interface Options extends CommonOptions {
  readonly plan: string;
  readonly output: string;
  readonly explain?: boolean;
  readonly force?: boolean;
  readonly allowNonfinite?: boolean;
  readonly adapter?: string;
  readonly dtype?: SparsifyOptions['dtype'];
  readonly data?: readonly string[];
  readonly tokens?: number;
}

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
    .option('--force', 'replace an existing output')
    .option('--adapter <dir>', 'LoRA adapter to merge into the checkpoint')
    .option('--allow-nonfinite', 'write NaN and infinite weights instead of refusing them');
  withCommonOptions(command).action(async (source: string, options: Options) => {
    const { plan, output, force, allowNonfinite: allowNonFinite, adapter, dtype, data, tokens } = options;
    const job = sourceOptions(options, context);
    const stored = { dtype, data, tokens };
    const result = await sparsify({ source, plan, output, force, allowNonFinite, adapter, ...stored, ...job });
    print(context.io, options, result, (made, width) => format(made, width, options.explain ?? false));
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
