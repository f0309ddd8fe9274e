/** `lacuna ops path` and `lacuna ops install`. */
import { BLOCK_NAMES, listed } from '../core/precision.ts';
import { installOps, type OpsInstallResult, opsPath } from '../index.ts';
import { type CommonOptions, type RegisterCommand, withCommonOptions } from './command.ts';

interface InstallOptions extends CommonOptions {
  readonly undo?: boolean;
}

export const registerOps: RegisterCommand = (program, { io, print }) => {
  const { nativeFolder } = io;
  const command = program.command('ops').description("the library of Lacuna's operators for other hosts");

  withCommonOptions(command.command('path').description('print its path, for register_custom_ops_library')).action(
    async (options: CommonOptions) => {
      print(options, { path: await opsPath({ nativeFolder }) }, ({ path }) => path);
    },
  );

  withCommonOptions(command.command('install').description('put it into a folder, where onnxruntime-genai loads it'))
    .argument('<dir>', `folder made by sparsify, build, or convert to ${listed(BLOCK_NAMES, 'or')}`)
    .option('--undo', 'take it out again')
    .action(async (folder: string, { undo, ...options }: InstallOptions) => {
      print(options, await installOps({ folder, nativeFolder, undo }), format);
    });
};

function format({ folder, installed, files }: OpsInstallResult): string {
  if (installed) return `${folder}: onnxruntime-genai loads ${files[0]} from now on`;
  return files.length === 0 ? `${folder}: there was nothing to take out` : `${folder}: took out ${files.join(', ')}`;
}
