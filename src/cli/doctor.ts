/** `lacuna doctor`. */
import { type DoctorResult, doctor } from '../index.ts';
import { type CommonOptions, type RegisterCommand, withCommonOptions } from './command.ts';

export const registerDoctor: RegisterCommand = (program, context) => {
  const command = program.command('doctor').description('check the runtime, and whether kernels are active');
  withCommonOptions(command).action(async (options: CommonOptions) => {
    const { nativeFolder } = context.io;
    const result = await doctor({ nativeFolder });
    context.print(options, result, formatDoctor);
    if (result.problem !== null) context.fail();
  });
};

function describeLibrary(native: DoctorResult['native']): string {
  if (native.state !== 'present') return `${native.state}: ${native.why} (${native.path})`;
  const { path, madeFor } = native;
  if (madeFor === null) return `${path}, a local build`;
  return `${path}, for ${madeFor.target} with ${madeFor.needs} or newer, tested ${madeFor.tested}`;
}

function describeKernels({ active, instructions }: DoctorResult['kernels']): string {
  if (!active) return 'not active';
  return instructions === null ? 'active' : `active, with ${instructions}`;
}

export function formatDoctor({ lacuna, node, platform, runtime, problem, native, kernels }: DoctorResult): string {
  const works = problem === null ? 'computes portable bodies correctly' : problem.message;
  const lines = [
    `lacuna ${lacuna}, Node.js ${node}, ${platform}`,
    `runtime: ${runtime.name} ${runtime.version ?? '(not loaded)'}; ${works}`,
    ...(problem?.hint ? [`  ${problem.hint}`] : []),
    `native library: ${describeLibrary(native)}`,
    `kernels in this process: ${describeKernels(kernels)}: ${kernels.why}`,
  ];
  return lines.join('\n');
}
