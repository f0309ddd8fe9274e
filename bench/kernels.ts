/**
 * The native library's kernels against portable bodies and against the dense block, in Python's ONNX Runtime. Prints
 * the second table of docs/native.md.
 *
 *     node bench/run.js kernels --python PATH [--library FILE] [--threads 2] [--rounds 30] [--layers N]
 *         [--shapes 576x1536,2304x9216]
 *
 * Python needs onnxruntime and NumPy (fixtures/oracle/requirements.txt). The blocks of a model together are larger than
 * the caches. --layers sets the number of blocks of each shape, --shapes their hidden sizes and neurons.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { encodeModel } from '../formats/onnx/index.ts';
import { nativePath } from '../src/pipeline/engine/native-library.ts';
import { type Contender, type Shape, shapesOf, stack } from './ffn-blocks.ts';

const SHAPES: readonly Shape[] = [
  { hidden: 576, neurons: 1536, layers: 24 },
  { hidden: 2304, neurons: 9216, layers: 3 },
];

const CONTENDERS: readonly Contender[] = [
  { name: 'dense' },
  { name: 'none', variant: { choice: undefined, masked: false } },
  { name: 'statistical-8', variant: { choice: { measure: 'gate', cut: 'deviation', mode: 'soft' }, masked: false } },
  ...[0.08, 0.2, 0.5].map((density) => ({
    name: `threshold-${100 * density}`,
    variant: { choice: { measure: 'activation', cut: 'absolute' }, masked: false } as const,
    density,
  })),
];

const { values: options } = parseArgs({
  options: {
    python: { type: 'string', default: 'python3' },
    library: { type: 'string', default: join(nativePath(), 'liblacuna_ort.so') },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '30' },
    layers: { type: 'string' },
    shapes: { type: 'string' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'lacuna-kernels-'));
try {
  for (const shape of shapesOf(options.shapes, options.layers, SHAPES)) {
    const models = join(folder, `${shape.hidden}x${shape.neurons}`);
    for (const contender of CONTENDERS) {
      const to = join(models, contender.name);
      mkdirSync(to, { recursive: true });
      const { model, externalData } = await encodeModel(stack(contender, shape));
      writeFileSync(join(to, 'model.onnx'), model);
      if (externalData !== undefined) writeFileSync(join(to, 'model.onnx_data'), externalData);
    }
    const { python, library, threads, rounds } = options;
    const args = [models, '--library', library, '--threads', threads, '--rounds', rounds];
    const layers = ['--layers', String(shape.layers), '--hidden', String(shape.hidden)];
    execFileSync(python, ['bench/kernels.py', ...args, ...layers], { stdio: 'inherit' });
    rmSync(models, { recursive: true });
  }
} finally {
  rmSync(folder, { recursive: true });
}
