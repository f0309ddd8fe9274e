/** `lacuna host`. */
import { Option } from 'commander';
import { signedPercent } from '../core/figures.ts';
import { COSTS } from '../core/host-costs.ts';
import { HOST_KINDS } from '../core/host-kind.ts';
import { HOST_DTYPES, type HostDtype, listed } from '../core/precision.ts';
import { type HostOptions, type HostResult, measureHost } from '../index.ts';
import { type CommonOptions, cacheFolderOf, jobOptions, type RegisterCommand, withCommonOptions } from './command.ts';
import { positiveInteger, precisionNames } from './parse.ts';
import { foldedTable } from './table.ts';

interface Options extends CommonOptions, Pick<HostOptions, 'host' | 'megabytes'> {
  readonly dtype?: readonly string[];
}

export const registerHost: RegisterCommand = (program, context) => {
  const command = program
    .command('host')
    .description('measure what decoding costs on this host, for the times that plans expect')
    .addOption(new Option('--host <name>', 'what to measure (default: native where it is built)').choices(HOST_KINDS))
    .option(
      '--dtype <names>',
      `precisions to measure: ${listed(HOST_DTYPES, 'and')} (default: all)`,
      precisionNames('--dtype'),
    );
  command.option('--megabytes <n>', 'weights of each model that is measured (default 128)', positiveInteger);
  withCommonOptions(command).action(async (options: Options) => {
    const { host, dtype, megabytes } = options;
    const { nativeFolder } = context.io;
    const surroundings = { nativeFolder, cacheFolder: cacheFolderOf(context), ...jobOptions(options, context) };
    const result = await measureHost({
      host,
      dtype: dtype as readonly HostDtype[] | undefined,
      megabytes,
      ...surroundings,
    });
    context.print(options, result, formatHost);
  });
};

function formatHost({ costs, file, steps }: HostResult, width: number): string {
  const { host, processor, threads, onnxruntime } = costs.key;
  const dtypes = Object.keys(costs.precisions);
  const rows = COSTS.map(({ name, per }) => [
    `${name}, ${per === 'byte' ? 'ps a byte' : 'µs'}`,
    ...dtypes.map((dtype) => (costs.precisions[dtype][name] * (per === 'byte' ? 1e12 : 1e6)).toFixed(1)),
  ]);
  const errors = Object.entries(steps).map(([dtype, measured]) => {
    const worst = measured.map((step) => step.fitted / step.measured - 1).sort((a, b) => Math.abs(b) - Math.abs(a))[0];
    return `${dtype} ${signedPercent(worst)}`;
  });
  return [
    `${host} host: ${processor}, ${threads} threads, ONNX Runtime ${onnxruntime}`,
    '',
    foldedTable(['cost', ...dtypes], rows, width),
    '',
    `largest error of a measured step by these costs: ${errors.join(', ')}`,
    file === null ? 'not kept: there is no cache folder' : `kept in ${file}`,
  ].join('\n');
}
