/** `lacuna inspect`. */
import { type Inspection, inspect } from '../index.ts';
import { type CommonOptions, jobOptions, print, type RegisterCommand, withCommonOptions } from './command.ts';
import { checkpointText, graphText, planText, specText, statisticsText, storageText } from './describe.ts';
import { table } from './table.ts';

interface Options extends CommonOptions {
  readonly explain?: boolean;
  readonly dtype?: string;
}

export const registerInspect: RegisterCommand = (program, context) => {
  const command = program
    .command('inspect')
    .description('show what a checkpoint, model folder, .onnx, statistics or plan file holds')
    .argument('<path>', 'what to look at, or owner/name on the Hub')
    .option('--dtype <name>', 'precision to show, where a folder has several (default: its first)')
    .option('--explain', 'say of every block of a plan why');
  withCommonOptions(command).action(async (path: string, options: Options) => {
    const found = await inspect(path, { ...jobOptions(options, context), dtype: options.dtype });
    print(context.io, options, found, (result, width) => format(result, width, options.explain ?? false));
  });
};

function format(found: Inspection, width: number, explain: boolean): string {
  switch (found.kind) {
    case 'checkpoint':
      return checkpointText(found.checkpoint);
    case 'folder': {
      const { spec, lacuna, models, plan } = found.manifest;
      const rows = models.map((model) => [model.file, storageText(model), model.onnxruntime]);
      const parts = [
        `${specText(spec)}\nmade by lacuna ${lacuna}`,
        table(['model', 'precision', 'ONNX Runtime'], rows),
        `${found.model.file}: ${graphText(found.graph, width)}`,
      ];
      return [...parts, ...(plan === null ? [] : [planText(plan, width, explain)])].join('\n\n');
    }
    case 'onnx':
      return graphText(found.graph, width);
    case 'statistics':
      return statisticsText(found.summary, width);
    case 'plan':
      return planText(found.plan, width, explain);
  }
}
