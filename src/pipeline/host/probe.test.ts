/** That probes do what their costs are fitted to: blocks leave out the share that they are named by. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeOnnx } from '../../../formats/onnx/index.ts';
import { temporaryFolder } from '../../../test/temporary.ts';
import { byteLength } from '../../core/dtype.ts';
import { HOST_DTYPES, type HostDtype } from '../../core/precision.ts';
import { openMeasuredSession } from '../engine/measured-session.ts';
import { type Probe, probeGraph, probesFor } from './probe.ts';

const folder = temporaryFolder();
const TOKENS = Array.from({ length: 12 }, (_, at) => (301 * at) % 4096);

/** For each layer, the mean over tokens of a count that the rewritten graph makes. */
async function countsOf(probe: Probe, dtype: HostDtype, count: 'kept' | 'active'): Promise<number[]> {
  const path = join(folder, `${dtype} ${probe.name}.onnx`);
  const { graph } = probeGraph(probe, dtype);
  await writeOnnx(graph, path, { threads: 1 });
  const session = await openMeasuredSession(path, graph, { threads: 1 });
  const { extras } = await session.step(TOKENS, session.emptyCache()).finally(() => session.close());
  return Array.from({ length: probe.shape.numHiddenLayers }, (_, layer) => {
    const values = Array.from(extras[`layers.${layer}.${count}`].data as ArrayLike<number>, Number);
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  });
}

describe.each<HostDtype>(['fp32', 'int8', 'int4'])('probes in %s', (dtype) => {
  const probes = probesFor(dtype, 24);

  it.each(probes.filter(({ density }) => density !== undefined))('compute $name in every layer', async (probe) => {
    const { density = 1, shape } = probe;
    // Also in the last: a stream that drifts lets more and more gates pass.
    for (const kept of await countsOf(probe, dtype, 'kept'))
      expect(Math.abs(kept / shape.intermediateSize - density)).toBeLessThan(0.03);
  });

  it.each(probes.filter(({ skip }) => skip !== undefined))('run the blocks of $name', async (probe) => {
    const runs = probe.skip?.threshold === 2 ? () => 1 : (layer: number) => (layer % 4 === 0 ? 1 : 0);
    const wanted = Array.from({ length: probe.shape.numHiddenLayers }, (_, layer) => runs(layer));
    expect(await countsOf(probe, dtype, 'active')).toEqual(wanted);
    expect(probeGraph(probe, dtype).blocks.map(({ expected }) => 1 - (expected.skipped ?? 0))).toEqual(wanted);
  });
});

it.each(HOST_DTYPES)('probes in %s have as many bytes of weights as asked for, or one layer', (dtype) => {
  for (const probe of probesFor(dtype, 128)) {
    const { graph } = probeGraph(probe, dtype);
    const bytes = graph.initializers.reduce((sum, { data }) => sum + byteLength(data.dtype, data.shape), 0);
    expect(bytes).toBeGreaterThan(40e6);
    expect(bytes).toBeLessThan(400e6);
  }
});
