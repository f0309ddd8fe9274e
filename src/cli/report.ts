/** `lacuna report`. */
import { formatBytes } from '../core/figures.ts';
import { type ReportOptions, type ReportResult, report } from '../index.ts';
import { type Flags, jobOptions, ownOptions, type RegisterCommand, withCommonOptions } from './command.ts';
import { wrap } from './table.ts';

export const registerReport: RegisterCommand = (program, context) => {
  const command = program
    .command('report')
    .description('write one HTML page of everything that was measured of a folder, or by calibration')
    .argument('<path>', 'folder made by convert, sparsify or build, or a statistics JSON')
    .requiredOption('-o, --output <file>', 'page to make, .html')
    .option('--beside <dir...>', 'folders of the same checkpoint to compare it with')
    .option('--sample', 'run the beginning of a text and show what each token computed (build has done so)')
    .option('--data <file...>', 'that text, with --sample, UTF-8 or JSONL (default: the pinned "test" text)')
    .option('--force', 'replace an existing output');
  withCommonOptions(command).action(async (path: string, options: Flags<ReportOptions, 'path'>) => {
    const { nativeFolder } = context.io;
    const result = await report({ ...ownOptions(options), path, nativeFolder, ...jobOptions(options, context) });
    context.print(options, result, resultText);
  });
};

/** The verdict, and what else could be measured for the page, which names all that is missing. Commands are said once. */
function resultText({ verdict, notShown, output, bytes }: ReportResult, width: number): string {
  const said = new Set<string>();
  const missing = notShown.flatMap(({ because, commands }) => {
    const more = commands.filter((command) => !said.has(command));
    for (const command of more) said.add(command);
    return more.length === 0 ? [] : [wrap(`Not shown: ${because}`, width, '  '), ...more.map(indented)];
  });
  return [wrap(verdict, width), ...missing, `Written to ${output} (${formatBytes(bytes)})`].join('\n');
}

const indented = (line: string) => `  ${line}`;
