/** `lacuna doctor`: which runtime is installed, whether it computes correctly, and where kernels are active. */
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { version as nodeVersion } from 'node:process';
import type * as z from 'zod';
import { encodeModel } from '../../formats/onnx/index.ts';
import { LacunaError } from '../core/errors.ts';
import type { Graph } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import { LACUNA_VERSION } from '../core/manifest.ts';
import { checkArgument, optionsOf } from '../core/options.ts';
import { messageOf } from '../core/text.ts';
import { Bodies, OPERATOR_SET, statisticalTopKBody, statisticalTopKNode } from '../ops/index.ts';
import { coreProblem, createOpenGraph, instructionsOf, operatorSetOf, runtimeVersion } from '../runtime/index.ts';
import { nativeBackend } from './backend.ts';
import { ADDON_NAME, findNativeLibrary, type NativeLibrary, nativePath } from './engine/native-library.ts';
import { nativeFolder } from './options.ts';

/** `nativeFolder`: where the native library is; found by itself when absent. */
export const doctorOptions = optionsOf({}, { nativeFolder });

export interface DoctorOptions extends z.infer<typeof doctorOptions> {}

export interface DoctorResult {
  readonly lacuna: string;
  readonly node: string;
  readonly platform: string;
  readonly runtime: { readonly name: 'onnxruntime-node'; readonly version: string | null };
  /** Why models cannot run here at all; null if they can. */
  readonly problem: { readonly message: string; readonly hint: string | null } | null;
  readonly native: NativeLibrary;
  /** Whether this process runs operators by kernels, with which of the processor's instructions, and why not. */
  readonly kernels: { readonly active: boolean; readonly instructions: string | null; readonly why: string };
}

/** Which runtime there is, whether it works, and whether kernels are active. Never throws for what it is asked to find out. */
export async function doctor(options: DoctorOptions = {}): Promise<DoctorResult> {
  const folder = nativePath(checkArgument(doctorOptions, options, { of: 'doctor' }).nativeFolder);
  const native = await findNativeLibrary(folder);
  let version: string | null = null;
  let problem: DoctorResult['problem'] = null;
  try {
    version = await runtimeVersion();
    await tryPortableBody();
  } catch (error) {
    problem = { message: messageOf(error), hint: error instanceof LacunaError ? (error.hint ?? null) : null };
  }
  const kernels = await tryKernels(native, folder);
  return {
    lacuna: LACUNA_VERSION,
    node: nodeVersion,
    platform: `${platform()}-${arch()}`,
    runtime: { name: 'onnxruntime-node', version },
    problem,
    native,
    kernels,
  };
}

/** Kernels are active if the library of operators and the addon for Node exist and both work. */
async function tryKernels(native: NativeLibrary, folder: string): Promise<DoctorResult['kernels']> {
  const problem = kernelProblem(native, folder);
  if (problem !== undefined) return { active: false, instructions: null, why: problem };
  try {
    return { active: true, instructions: await tryKernel(folder, native.path), why: ACTIVE };
  } catch (error) {
    const why = `an operator cannot be run by its kernel: ${messageOf(error).trim()}`;
    return { active: false, instructions: null, why };
  }
}

/** Why kernels cannot be active; undefined if nothing is known against it before one is run. */
function kernelProblem(native: NativeLibrary, folder: string): string | undefined {
  if (native.state !== 'present') return `the native library cannot be used: ${native.why}`;
  const addon = join(folder, ADDON_NAME);
  const problem = coreProblem({ addon });
  if (problem !== undefined) return `the session for Node cannot be loaded: ${problem}`;
  const known = operatorSetOf(addon);
  if (known === OPERATOR_SET) return undefined;
  return `its kernels are for operators of version ${known}, and this Lacuna writes version ${OPERATOR_SET}: install the native core of this version`;
}

const ACTIVE = 'run and bench decode with them, eval and build measure with them; so does lacuna/backend';

const ROW = { dtype: 'float32', dims: [1, 5], data: Float32Array.of(1, 2, 3, 4, 5) } as const;

/** One operator: max(x - theta, 0) of 1 to 5 at quantile 1, where theta is 3 + sqrt 2. */
function oneOperator(): Graph {
  const g = new GraphBuilder('doctor');
  const bodies = new Bodies([]);
  const opType = bodies.opTypeOf(statisticalTopKBody('soft'));
  const ports = { inputs: { x: 'x' }, outputs: { y: 'y', kept: 'kept' } };
  g.nodes.push(statisticalTopKNode({ node: 'top_k', opType, mode: 'soft', quantile: 1, ...ports }));
  const row = (name: string) => value(name, 'float32', [1, 5]);
  return g.graph([row('x')], [row('y')], bodies.functions);
}

function checkResult(data: ArrayLike<number | bigint>): void {
  const y = Array.from(data, Number);
  const wanted = [0, 0, 0, 0, 2 - Math.SQRT2];
  if (!y.every((entry, i) => Math.abs(entry - wanted[i]) < 1e-5))
    throw new LacunaError('runtime', `ONNX Runtime computes [${y}] instead of [${wanted}]`);
}

async function tryPortableBody(): Promise<void> {
  const runner = await createOpenGraph({ encode: encodeModel, threads: 1 })(oneOperator());
  const { y } = await runner.run({ x: ROW }).finally(() => runner.close());
  checkResult(y.data);
}

/** Runs an operator by its kernel. Returns the instructions that kernels use, which a library says while it is loaded. */
async function tryKernel(folder: string, operators: string): Promise<string | null> {
  const [{ Tensor }, { model }] = await Promise.all([import('onnxruntime-node'), encodeModel(oneOperator())]);
  const session = await nativeBackend(Tensor, folder).createInferenceSessionHandler(model);
  try {
    const { y } = await session.run({ x: new Tensor(ROW.dtype, ROW.data, ROW.dims) }, { y: null }, {});
    checkResult(y.data as Float32Array);
    return instructionsOf({ addon: join(folder, ADDON_NAME), operators });
  } finally {
    await session.dispose();
  }
}
